// The camera: its frames, one after the other, as fast as they are explained.

import { at, element } from "./state.js";

let stream = null; // while it runs

export const isOn = () => Boolean(stream);

/** Start the camera and pass each frame, an ImageBitmap, to `explain`, until it is stopped. */
export async function start(explain) {
  if (!navigator.mediaDevices) throw new Error("the camera needs https:// or localhost; open the page there");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
  } catch {
    throw new Error("the camera cannot be used; allow it for this page, or close what else uses it");
  }
  at("camera").ariaPressed = true;
  at("camera").textContent = "Stop";
  const video = element("video", { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  const mine = stream;
  while (stream === mine) {
    await explain(await createImageBitmap(video));
    await new Promise(requestAnimationFrame);
  }
}

/** Stop it. */
export function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  at("camera").ariaPressed = false;
  at("camera").textContent = "Camera";
}
