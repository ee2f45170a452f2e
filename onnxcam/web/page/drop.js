// Files that are dropped on the page, or pasted.

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

/** Call `take` with all files that are dropped or pasted. */
export function takeDropped(take) {
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", Boolean(holdsFiles(event)));
  };
  document.ondragleave = (event) => !event.relatedTarget && document.body.classList.remove("dragging");
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    if (holdsFiles(event)) take([...event.dataTransfer.files]);
  };
  document.onpaste = (event) => event.clipboardData.files.length && take([...event.clipboardData.files]);
}
