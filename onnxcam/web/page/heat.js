// The heat map as colours.

/** Return 256 colours, as pixels of an ImageData, of base64 of 256 × RGBA. */
export function coloursOf(base64) {
  const rgba = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Uint32Array(rgba.buffer);
}

/** Draw the picture of a result, which is then gone from it. */
export function drawPicture(canvas, result) {
  [canvas.width, canvas.height] = [result.width, result.height];
  canvas.getContext("2d").drawImage(result.picture, 0, 0);
  result.picture.close();
  result.picture = null;
}

/** Draw places in a table of colours, which are as strong as the map; the strongest has the canvas's own opacity. */
export function drawHeat(canvas, { places, width, height }, table) {
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[places[i]];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Return a PNG of the picture with the heat map over it. */
export function overlaid(picture, heat, opacity) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  context.globalAlpha = opacity;
  context.drawImage(heat, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve));
}
