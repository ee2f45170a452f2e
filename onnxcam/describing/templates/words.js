for (const text of document.querySelectorAll(".text")) {
  const images = text.querySelectorAll(".stage img");
  const buttons = text.querySelectorAll("button");
  let kept = null;
  const show = (button) => {
    const wanted = button ? document.getElementById(button.dataset.map) : images[0];
    for (const image of images) image.hidden = image !== wanted;
    for (const one of buttons) one.setAttribute("aria-pressed", String(one === button));
  };
  for (const button of buttons) {
    button.addEventListener("mouseenter", () => show(button));
    button.addEventListener("mouseleave", () => show(kept));
    button.addEventListener("focus", () => show(button));
    button.addEventListener("click", () => { kept = kept === button ? null : button; show(kept); });
  }
}
