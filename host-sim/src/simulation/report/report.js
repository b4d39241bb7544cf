"use strict";
// The values at a time: under the cursor or a finger, or by the arrow keys.
for (const plot of document.querySelectorAll(".plot")) {
  const { places, times, words, lines } = JSON.parse(plot.dataset.values);
  const cursor = plot.querySelector(".cursor");
  const box = plot.querySelector(".values");
  let shown = -1;
  const show = (number) => {
    shown = Math.max(0, Math.min(places.length - 1, number));
    const list = document.createElement("dl");
    for (const { name, color, values } of lines) {
      const key = document.createElement("dt");
      key.textContent = name;
      key.style.setProperty("--c", color);
      const value = document.createElement("dd");
      value.textContent = words[values[shown]];
      list.append(key, value);
    }
    box.replaceChildren(`at ${times[shown]}`, list);
    const place = places[shown];
    cursor.style.left = `${place}%`;
    box.style.left = place < 50 ? `calc(${place}% + 8px)` : "auto";
    box.style.right = place < 50 ? "auto" : `calc(${100 - place}% + 8px)`;
    cursor.hidden = box.hidden = false;
  };
  const hide = () => {
    cursor.hidden = box.hidden = true;
    shown = -1;
  };
  const under = (event) => {
    const area = plot.getBoundingClientRect();
    const place = (100 * (event.clientX - area.left)) / area.width;
    const far = (number) => Math.abs(places[number] - place);
    let nearest = 0;
    for (let number = 1; number < places.length; number++) {
      if (far(number) < far(nearest)) nearest = number;
    }
    show(nearest);
  };
  plot.addEventListener("pointermove", under);
  plot.addEventListener("pointerdown", under);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      show(shown + step);
      event.preventDefault();
    }
  });
}
// On paper nothing can be unfolded.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
