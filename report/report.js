"use strict";
if (navigator.clipboard && window.isSecureContext) {
	for (const button of document.querySelectorAll("button.copy")) {
		button.hidden = false;
		button.addEventListener("click", async () => {
			const lines = button.parentElement.querySelectorAll("pre code");
			let said = "Copied";
			try {
				await navigator.clipboard.writeText(Array.from(lines, (line) => line.textContent).join("\n"));
			} catch {
				said = "Not copied";
			}
			button.textContent = document.getElementById("said").textContent = said;
			setTimeout(() => { button.textContent = "Copy"; }, 2000);
		});
	}
}
let folded = [];
addEventListener("beforeprint", () => {
	folded = Array.from(document.querySelectorAll("details:not([open])"));
	for (const d of folded) d.open = true;
});
addEventListener("afterprint", () => {
	for (const d of folded) d.open = false;
});
