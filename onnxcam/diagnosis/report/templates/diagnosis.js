"use strict";
// The table is sorted by its headers; the text of a cell of the line is shown below it.
const body = document.querySelector("#tensors tbody");
const headers = [...document.querySelectorAll("#tensors thead th")];
const told = document.getElementById("told");
let sorted = { column: 0, down: false };

function value(row, column) {
  const cell = row.cells[column], number = cell.dataset.value;
  return number === undefined ? cell.textContent.trim() : number === "" ? null : Number(number);
}

function compare(a, b) {
  const x = value(a, sorted.column), y = value(b, sorted.column);
  if (x === null || y === null || x === "" || y === "") return (x === null || x === "") - (y === null || y === "");
  const sign = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
  return sorted.down ? -sign : sign;
}

headers.forEach((header, column) => {
  header.querySelector("button").addEventListener("click", () => {
    const first = header.classList.contains("number") && column > 0; // the largest number first
    sorted = { column, down: column === sorted.column ? !sorted.down : first };
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    body.append(...[...body.rows].sort(compare));
  });
});

document.querySelectorAll(".line a").forEach((cell) => {
  for (const event of ["mouseenter", "focus"]) {
    cell.addEventListener(event, () => { told.textContent = cell.querySelector("title").textContent; });
  }
});
told.textContent = document.querySelector('.line a[href="#tensor-1"] title')?.textContent ?? "";
told.hidden = !told.textContent;
