// The widgets' viewer asks MathJax 2 to typeset a label (MathJax.Hub.Queue); this lets MathJax 3 do it.
window.MathJax = {
  options: { enableMenu: false, ignoreHtmlClass: "document", processHtmlClass: "math|output_area" }, // the menu loads more
  startup: {
    ready() {
      MathJax.startup.defaultReady();
      MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise([element]) };
    },
  },
};
