// Opens a picture in place; without this script the link leads to the file beside the page.
const pictures = [...document.querySelectorAll("dialog")];
const close = (dialog) => { dialog.classList.remove("full"); dialog.close(); };
const show = (dialog) => { if (!dialog.open) dialog.showModal(); };
for (const link of document.querySelectorAll("a[data-large]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(document.getElementById(link.dataset.large));
  });
}
pictures.forEach((dialog, index) => {
  const step = (by) => {
    close(dialog);
    show(pictures[(index + by + pictures.length) % pictures.length]);
  };
  dialog.addEventListener("click", (event) => {
    if (event.target.closest("[data-close]") || event.target === dialog) close(dialog);
    else if (event.target.closest("[data-back]")) step(-1);
    else if (event.target.closest("[data-next]")) step(1);
    else if (event.target.tagName === "IMG") dialog.classList.toggle("full");
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
});
