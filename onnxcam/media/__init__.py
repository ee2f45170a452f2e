"""Images and volumes: files, arrays, and heat maps over them."""
