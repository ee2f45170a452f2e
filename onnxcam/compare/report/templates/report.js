"use strict";
// Table of all images: rows come as JSON, worst first, and are added 200 at a time.
const { columns, answers, rows, cards } = JSON.parse(document.getElementById("rows").textContent);
const PAGE = 200;
const body = document.querySelector("#all tbody");
const headers = [...document.querySelectorAll("#all thead th")];
const filter = document.getElementById("filter");
const differing = document.getElementById("differing");
const found = document.getElementById("status");
const more = document.getElementById("more");
const alphabet = new Intl.Collator("en", { numeric: true });
const [FIRST_TOP, SECOND_TOP] = columns.flatMap((column, place) => (column.kind === "class" ? [place] : []));
const NAME = columns.findIndex((column) => column.kind === "name");
let shown = rows, drawn = 0, sorted = { column: 0, down: false };

const differs = (row) => row[FIRST_TOP] !== row[SECOND_TOP];
const value = (row, place) => (columns[place].kind === "class" ? answers[row[place]] : row[place]);

function text(row, place) {
  const { digits } = columns[place];
  if (row[place] === null) return "–";
  return digits === undefined ? String(value(row, place)) : row[place].toFixed(digits);
}

function cell(row, place) {
  const element = document.createElement("td");
  element.className = columns[place].kind;
  if (columns[place].kind === "number") {
    element.textContent = text(row, place);
    return element;
  }
  const inner = document.createElement("bdi");
  inner.textContent = text(row, place);
  element.append(inner);
  if (place === SECOND_TOP && differs(row)) element.classList.add("differs");
  if (place === NAME && row[0] <= cards) {
    const link = document.createElement("a");
    link.href = `#picture-${row[0]}`;
    link.append(inner);
    element.append(link);
  } else if (place !== NAME) element.title = inner.textContent;
  return element;
}

function draw() {
  const part = document.createDocumentFragment();
  for (const row of shown.slice(drawn, drawn + PAGE)) {
    const line = document.createElement("tr");
    line.append(...columns.map((_, place) => cell(row, place)));
    part.append(line);
  }
  body.append(part);
  drawn = Math.min(drawn + PAGE, shown.length);
  const [some, all, now] = [shown.length, rows.length, drawn].map((count) => count.toLocaleString("en"));
  const few = some === all ? `${all} images` : `${some} of ${all} images`;
  found.textContent = drawn < shown.length ? `${few}, the first ${now} shown` : few;
  more.hidden = drawn >= shown.length;
}

function compare(a, b) {
  const x = value(a, sorted.column), y = value(b, sorted.column);
  if (x === null || y === null) return (x === null) - (y === null); // missing values come last in both directions
  const sign = typeof x === "string" ? alphabet.compare(x, y) : x - y;
  return sorted.down ? -sign : sign;
}

function update() {
  const wanted = filter.value.trim().toLowerCase();
  const has = (row) => [NAME, FIRST_TOP, SECOND_TOP].some((place) => value(row, place).toLowerCase().includes(wanted));
  shown = rows.filter((row) => (!wanted || has(row)) && (!differing.checked || differs(row))).sort(compare);
  headers.forEach((header, place) => {
    if (place === sorted.column) header.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  });
  body.replaceChildren();
  drawn = 0;
  draw();
}

if (body) {
  headers.forEach((header, place) => {
    header.querySelector("button").addEventListener("click", () => {
      sorted = { column: place, down: place === sorted.column && !sorted.down };
      update();
    });
  });
  filter.addEventListener("input", update);
  differing.addEventListener("change", update);
  more.addEventListener("click", draw);
  document.getElementById("table").hidden = false;
  update();
}
