// A link to a section of another notebook goes to the section. JupyterLab 4 alone opens the notebook at its top,
// because it looks for the heading before the cells are drawn. While pictures load above it, the heading moves; so this
// goes there again until it stays.
const still = 5, patience = 100, pause = 200; // rounds, rounds, milliseconds

function goesToSections(panel) {
  panel.setFragment = async fragment => {
    await panel.context.ready;
    const id = CSS.escape(decodeURIComponent(fragment.slice(1)));
    let stayed = 0, before = null, stopped = false;
    const stop = () => { stopped = true; };
    ["wheel", "keydown", "pointerdown"].forEach(kind => panel.node.addEventListener(kind, stop, { once: true }));
    for (let round = 0; round < patience && stayed < still && !stopped && !panel.isDisposed; round++) {
      await panel.content.setFragment(fragment);
      await new Promise(done => setTimeout(done, pause));
      const heading = panel.node.querySelector(`[data-jupyter-id="${id}"]`);
      const now = heading && heading.getBoundingClientRect().top;
      stayed = now !== null && now === before ? stayed + 1 : 0;
      before = now;
    }
  };
}

(window._JUPYTERLAB ??= {}).course_links = {
  init: async () => {},
  get: async () => () => ({
    id: "course_links:plugin",
    autoStart: true,
    activate: app => {
      app.docRegistry.addWidgetExtension("Notebook", { createNew: goesToSections });
      // the first line of a folded cell may be longer than the window is wide
      document.head.appendChild(document.createElement("style")).textContent =
        ".jp-Placeholder-content { min-width: 0; } .jp-Placeholder-contentContainer { min-width: 0; overflow: hidden; }";
      // beside the list of files a narrow window has no room for formulas
      app.restored.then(() => { if (window.innerWidth < 1000) app.shell.collapseLeft(); });
    },
  }),
};
