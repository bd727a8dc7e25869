// All pages work without this script. It adds buttons that copy and select, and refreshes live parts of pages.
"use strict";
for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) continue;
  const label = button.textContent;
  button.hidden = false;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copy failed; select it by hand";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

// A question closes by Escape and by its button, and the focus returns to what has opened it.
for (const question of document.querySelectorAll("details.ask")) {
  const close = () => {
    question.open = false;
    question.querySelector("summary").focus();
  };
  question.addEventListener("keydown", event => { if (event.key === "Escape" && question.open) close(); });
  for (const button of question.querySelectorAll("[data-close]")) {
    button.hidden = false;
    button.addEventListener("click", close);
  }
}

// Selects all entries of a list, and counts the selected ones.
for (const all of document.querySelectorAll("[data-all]")) {
  const boxes = [...all.closest("form").querySelectorAll("input[type=checkbox]")];
  const [button, count] = [all.querySelector("button"), all.parentElement.querySelector("[data-count]")];
  const tell = () => {
    const selected = boxes.filter(box => box.checked).length;
    count.textContent = selected ? `(${selected})` : "";
    button.textContent = boxes.length && selected === boxes.length ? "Select none" : "Select all on this page";
  };
  all.hidden = false;
  button.addEventListener("click", () => {
    const wanted = boxes.some(box => !box.checked);
    for (const box of boxes) box.checked = wanted;
    tell();
  });
  for (const box of boxes) box.addEventListener("change", tell);
  tell();
}

// Refreshes a part of the page periodically, unless the page is hidden or paused.
for (const part of document.querySelectorAll("[data-live]")) {
  const every = matchMedia("(prefers-reduced-motion: reduce)").matches ? 10000 : 2000;
  const note = document.getElementById("live-note");
  const button = document.querySelector("button[data-pause]");
  let paused = false, timer = 0, asking = false;

  const later = () => {
    clearTimeout(timer);
    timer = paused || document.hidden ? 0 : setTimeout(ask, every);
  };
  const ask = async () => {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(part.dataset.live, { redirect: "manual", signal: AbortSignal.timeout(10000) });
      // Probably a redirect to the sign-in page.
      if (answer.type === "opaqueredirect") return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const parsed = new DOMParser().parseFromString(`<div>${await answer.text()}</div>`, "text/html");
      if (!paused) {
        become(part, parsed.body.firstChild);
        readable(part);
      }
      note.hidden = true;
    } catch {
      note.hidden = false;
    } finally {
      asking = false;
    }
    later();
  };

  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      paused = !paused;
      button.textContent = paused ? "Resume" : "Pause";
      if (paused) later(); else ask();
    });
  }
  readable(part);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || paused) later(); else ask();
  });
  later();
}

// Replaces the children of one element by those of another, and changes only the differences: the focus and the scroll
// position stay, and a screen reader does not read the part again.
function become(old, fresh) {
  const [olds, news] = [[...old.childNodes], [...fresh.childNodes]];
  if (olds.length !== news.length) return old.replaceChildren(...news);
  olds.forEach((one, place) => {
    const other = news[place];
    if (one.isEqualNode(other)) return;
    if (one.nodeName !== other.nodeName) return one.replaceWith(other);
    if (one.nodeType !== Node.ELEMENT_NODE) {
      one.data = other.data;
      return;
    }
    for (const { name } of [...one.attributes]) if (!other.hasAttribute(name) && name !== "data-ready") one.removeAttribute(name);
    for (const { name, value } of other.attributes) if (one.getAttribute(name) !== value) one.setAttribute(name, value);
    become(one, other);
  });
}

// Shows the values of a chart at one point in time: below the pointer, or chosen with the arrow keys on its slider.
function readable(part) {
  for (const slider of part.querySelectorAll("input.point")) {
    const figure = slider.closest("figure");
    const at = figure.querySelector(".at");
    const tell = () => {
      const lines = slider.dataset.values.split(";").map(line => line.split("|"));
      const ago = (slider.max - slider.value) * slider.dataset.step;
      const [minutes, seconds] = [Math.floor(ago / 60), ago % 60];
      const time = ago ? [minutes && `${minutes} min`, seconds && `${seconds} s`].filter(Boolean).join(" ") + " ago" : "now";
      const text = `${time}: ${lines.map(line => `${line[0]} ${line[1 + Number(slider.value)]}`).join(", ")}`;
      slider.setAttribute("aria-valuetext", text);
      at.textContent = text;
    };
    slider.hidden = at.hidden = false;
    tell();
    if (slider.dataset.ready) continue;
    slider.dataset.ready = "yes";
    slider.addEventListener("input", tell);
    const plot = figure.querySelector("svg");
    plot.addEventListener("pointermove", event => {
      const box = plot.getBoundingClientRect();
      slider.value = Math.round((event.clientX - box.left) / box.width * slider.max);
      tell();
    });
  }
}
