// What a test reads from a report's page in the browser. Evaluates to an object of
// functions; see browser_report_test.go.
(() => {
	const text = (e) => e ? e.textContent.replace(/\s+/g, " ").trim() : "";
	// A sentence as the report has it: code stands between backticks there.
	const said = (e) => {
		const copy = e.cloneNode(true);
		for (const c of copy.querySelectorAll("code")) c.replaceWith("`" + c.textContent + "`");
		return copy;
	};
	const rows = (dl) => dl ? Array.from(dl.children, (d) => [d.querySelector("dt").textContent, said(d.querySelector("dd")).textContent]) : [];
	const command = (e) => e ? Array.from(e.querySelectorAll("pre code"), (c) => c.textContent) : [];
	const commands = (e) => Array.from(e.querySelectorAll(":scope > .command"), command);

	// Colours are read through a canvas: it knows every notation.
	const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
	const known = new Map();
	const rgba = (color) => {
		if (!known.has(color)) known.set(color, read(color));
		return known.get(color);
	};
	const read = (color) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = color;
		canvas.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
		return [r, g, b, a / 255];
	};
	const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3])).concat(1);
	let backs = new Map();
	const behind = (e) => {
		if (!e) return [255, 255, 255, 1];
		if (!backs.has(e)) backs.set(e, over(rgba(getComputedStyle(e).backgroundColor), behind(e.parentElement)));
		return backs.get(e);
	};
	// WCAG 2.2, relative luminance and contrast ratio.
	const luminance = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ratio = (a, b) => {
		const [hi, lo] = [luminance(a), luminance(b)].sort((x, y) => y - x);
		return (hi + 0.05) / (lo + 0.05);
	};
	const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true, contentVisibilityAuto: true });
	// What is for screen readers alone takes no room.
	const clipped = (e) => e && (getComputedStyle(e).clipPath === "inset(50%)" || clipped(e.parentElement));
	const skip = "script, style, title, desc, .sr";
	const texts = function* () {
		const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		for (let n = walker.nextNode(); n; n = walker.nextNode()) {
			if (n.data.trim() && !n.parentElement.closest(skip)) yield n;
		}
	};

	return {
		page: () => ({
			title: document.title,
			lang: document.documentElement.lang,
			landmarks: ["header.page", "main", "footer"].filter((s) => document.querySelector("body > " + s)),
			headings: Array.from(document.querySelectorAll("h1,h2,h3,h4,h5,h6"), (h) => Number(h.tagName[1])),
			sameIDs: Array.from(document.querySelectorAll("[id]"), (e) => e.id).filter((id, i, all) => all.indexOf(id) !== i),
			deadLinks: Array.from(document.querySelectorAll("a"), (a) => a.getAttribute("href")).filter((h) => !h.startsWith("#") || !document.getElementById(h.slice(1))),
			foreign: Array.from(document.querySelectorAll("*")).filter((e) => /^(img|iframe|frame|object|embed|link|base|form|input|video|audio|image|use|foreignobject|animate|set)$/i.test(e.tagName) ||
				Array.from(e.attributes).some((a) => /^on|^style$|^src/i.test(a.name))).map((e) => e.outerHTML.slice(0, 200)),
			scripts: document.scripts.length,
			marks: Array.from(document.querySelectorAll(".lanes td"), (td) => [td.className, text(td), td.querySelectorAll("svg.glyph *").length > 0]),
			ladders: Array.from(document.querySelectorAll(".ladder"), (f) => ({
				title: text(f.querySelector("svg > title")), desc: text(f.querySelector("svg > desc")), asText: text(f.querySelector("pre")),
				arrows: f.querySelectorAll(".arrow").length, lost: f.querySelectorAll(".arrow.lost .cross").length,
			})),
			targets: Array.from(document.querySelectorAll("article"), (a) => ({
				h1: Array.from(a.querySelectorAll("h1"), (h) => h.textContent),
				lanes: Array.from(a.querySelectorAll(".lanes tbody tr"), (tr) => ({
					name: text(tr.querySelector(".name")),
					broken: Array.from(tr.cells).filter((c) => c.classList.contains("broken"))
						.map((c) => c.closest("table").tHead.rows[0].cells[c.cellIndex].querySelector("a").getAttribute("href").replace(/^#t\d+-/, "")),
				})),
				stations: Array.from(a.querySelectorAll(".station"), (d) => [d.dataset.station, text(d.querySelector(".state"))]),
				causes: Array.from(a.querySelectorAll("[data-cause]"), (c) => ({
					name: c.dataset.cause,
					title: text(c.querySelector("h2")),
					rows: rows(c.querySelector(":scope > dl.rows")),
					settle: commands(c),
					fixes: Array.from(c.querySelectorAll(":scope > .fix"), (f) => ({ title: text(said(f.querySelector("h3"))), code: Array.from(f.querySelectorAll("h3 code"), (c) => c.textContent), terms: rows(f.querySelector(":scope > dl.rows")), commands: commands(f) })),
				})),
				unchecked: text(a.querySelector(".unchecked")),
			})),
			facts: text(document.querySelector(".facts pre")),
		}),
		unfold: () => { for (const d of document.querySelectorAll("details")) d.open = true; },
		fold: () => { for (const d of document.querySelectorAll("details")) d.open = false; },
		wide: () => {
			const out = [];
			if (document.documentElement.scrollWidth > innerWidth) out.push("the page: " + document.documentElement.scrollWidth + " of " + innerWidth);
			for (const e of document.querySelectorAll("body *")) {
				const r = e.getBoundingClientRect();
				if (visible(e) && r.width > 0 && (r.right > innerWidth + 1 || r.left < -1) && !clipped(e)) out.push(e.outerHTML.slice(0, 120));
			}
			return out.slice(0, 5);
		},
		faint: () => {
			const out = new Set();
			backs = new Map();
			for (const n of texts()) {
				const e = n.parentElement, s = getComputedStyle(e);
				if (!visible(e)) continue;
				const size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && s.fontWeight >= 700;
				const back = behind(e), color = over(rgba(e.namespaceURI.endsWith("svg") ? s.fill : s.color), back);
				const c = ratio(color, back);
				if (c < (large ? 3 : 4.5)) out.add(c.toFixed(2) + " " + n.data.trim().slice(0, 60));
			}
			// What is drawn needs 3:1 (WCAG 2.2, 1.4.11).
			for (const e of document.querySelectorAll("svg.glyph > :first-child, .ladder path")) {
				const s = getComputedStyle(e), back = behind(e);
				if (!visible(e)) continue;
				const c = Math.max(...[s.fill, s.stroke].filter((c) => c !== "none").map((c) => ratio(over(rgba(c), back), back)));
				if (c < 3) out.add(c.toFixed(2) + " " + e.outerHTML.slice(0, 80) + " in " + e.parentElement.getAttribute("class"));
			}
			return Array.from(out).slice(0, 8);
		},
		hidden: () => {
			const out = [];
			for (const n of texts()) {
				if (!n.parentElement.closest(".copy, .facts details, .fine") && !visible(n.parentElement)) out.push(n.data.trim().slice(0, 80));
			}
			return out.slice(0, 5);
		},
		shown: (selector) => Array.from(document.querySelectorAll(selector)).filter(visible).length,
		copied: async () => {
			const out = [];
			for (const b of document.querySelectorAll("button.copy")) {
				await navigator.clipboard.writeText("nothing");
				b.click();
				for (let i = 0; i < 200 && b.textContent === "Copy"; i++) await new Promise((ok) => setTimeout(ok, 5));
				out.push([await navigator.clipboard.readText(), text(document.getElementById("said"))]);
			}
			return out;
		},
		// follow clicks the link to a station in the picture, and tells whether it opens.
		// stops are what a keyboard has to come to, and focused is where it is: which of them,
		// and whether that is to be seen.
		stops: () => Array.from(document.querySelectorAll("a[href], button, summary")).filter(visible).length,
		focused: () => {
			const e = document.activeElement, s = getComputedStyle(e);
			backs = new Map();
			const seen = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && ratio(over(rgba(s.outlineColor), behind(e)), behind(e)) >= 3;
			return { which: Array.from(document.querySelectorAll("a[href], button, summary")).filter(visible).indexOf(e), seen, html: e.outerHTML.slice(0, 80) };
		},
		follow: async (key) => {
			document.querySelector(".lanes thead a[href$='-" + key + "']").click();
			await new Promise((ok) => setTimeout(() => requestAnimationFrame(ok), 50));
			const d = document.querySelector(".station[data-station=" + key + "]");
			return d.open && visible(d.querySelector(".body"));
		},
		toggles: () => Array.from(document.querySelectorAll("details > summary")).every((s) => {
			const was = s.parentElement.open;
			s.click();
			const now = s.parentElement.open;
			s.click();
			return now !== was && s.tabIndex === 0;
		}),
		says: (what) => document.body.innerText.includes(what),
	};
})()
