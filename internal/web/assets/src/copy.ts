// Whatever has data-copy puts the text of what it names on the clipboard, or of
// the code that it stands at if it names nothing, and says so itself.
function copied(b: HTMLElement, said: string): void {
  const label = b.querySelector("span") ?? b;
  b.dataset.label ??= label.textContent ?? "";
  label.textContent = said;
  setTimeout(() => (label.textContent = b.dataset.label ?? ""), 2_000);
}

document.addEventListener("click", (e) => {
  const b = e.target instanceof Element ? e.target.closest<HTMLElement>("[data-copy]") : null;
  const from = b?.dataset.copy ? document.querySelector<HTMLElement>(b.dataset.copy) : b?.closest(".code")?.querySelector<HTMLElement>(".code-lines");
  if (!b || !from) return;
  const text = from instanceof HTMLTextAreaElement ? from.value : from.innerText;
  void (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"))).then(
    () => copied(b, "Copied"),
    () => {
      const range = new Range(); // without TLS the browser lets nobody copy
      range.selectNodeContents(from);
      getSelection()?.removeAllRanges();
      getSelection()?.addRange(range);
      copied(b, "Press Ctrl-C");
    },
  );
});
