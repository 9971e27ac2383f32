// Sorts the table by a click on a head, and lets the arrow keys go from point to point.
(() => {
  "use strict";
  const table = document.querySelector("table.networks");
  if (table) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    const value = (row, column) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      const x = Number(a), y = Number(b);
      return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    };
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const first = "falls" in head.dataset ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = before === first ? other : first;
        const sign = order === "ascending" ? 1 : -1;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const rows = [...body.rows];
        const known = rows.filter((row) => value(row, column) !== undefined);
        const rest = rows.filter((row) => value(row, column) === undefined);
        known.sort((a, b) => sign * compare(value(a, column), value(b, column)));
        body.append(...known, ...rest);
      });
    });
  }
  for (const group of document.querySelectorAll(".dots")) {
    const dots = [...group.querySelectorAll("a.dot")];
    group.addEventListener("keydown", (event) => {
      const at = dots.indexOf(event.target);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (at < 0 || !step) return;
      event.preventDefault();
      dots[Math.min(Math.max(at + step, 0), dots.length - 1)].focus();
    });
    group.addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.target.blur();
    });
  }
})();
