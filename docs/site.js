// Accessibility that the site's generator lacks. The bar with the copy button of each block of code is a landmark: it gets
// a name of its own. A table that scrolls gets the keyboard's focus.
const mend = () => {
  document.querySelectorAll("nav.md-code__nav").forEach((bar, at) => bar.setAttribute("aria-label", `Code block ${at + 1}`));
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => (table.tabIndex = 0));
};
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
