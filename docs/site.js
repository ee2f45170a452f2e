// What a reader without a mouse needs, and the generator leaves out: each block of code has a bar with a copy button, a
// landmark, so name them apart; a table that scrolls is reached by the keyboard.
const mend = () => {
  document.querySelectorAll("nav.md-code__nav").forEach((bar, at) => bar.setAttribute("aria-label", `Code block ${at + 1}`));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => (table.tabIndex = 0));
};
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
