// Keeps the page as it is now. Without it the page says how things stood when it was loaded.
"use strict";
(() => {
  const every = 2000; // ms between two questions
  const shown = new Map(); // what each section holds, so that what has not changed is left alone
  const news = document.getElementById("news");
  const asOf = document.getElementById("as-of");
  const pause = document.getElementById("pause");
  let paused = false;
  let timer = 0;
  let asking = false;

  // say tells a screen reader, and only what is new.
  const say = (text) => {
    if (news.textContent !== text) news.textContent = text;
  };

  const put = (data) => {
    for (const [id, html] of Object.entries(data.sections)) {
      const place = document.getElementById(id);
      if (!place || shown.get(id) === html) continue;
      shown.set(id, html);
      place.innerHTML = html; // made by html/template, and no section holds anything that can have the focus
    }
    asOf.textContent = data.clock;
    asOf.dateTime = data.snapshot.at;
    say(data.say);
  };

  const ask = async () => {
    timer = 0;
    asking = true;
    try {
      const answer = await fetch("/data.json?sections=1", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const data = await answer.json();
      if (!paused) put(data);
    } catch {
      say("There is no answer. What is shown is old; trying again.");
    }
    asking = false;
    next();
  };

  const next = () => {
    if (!paused && !document.hidden && !asking && timer === 0) timer = setTimeout(ask, every);
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) {
      clearTimeout(timer);
      timer = 0;
    }
    next();
  });
  document.addEventListener("visibilitychange", next);
  next();
})();
