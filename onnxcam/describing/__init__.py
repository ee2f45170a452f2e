"""What is written of the words of a decoder: a page and a sheet, each word with its map."""
