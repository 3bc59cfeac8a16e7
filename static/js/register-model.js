// Registering a model: a folder's files are sent with their paths, which browsers leave out.

const MOST_FILES = 100;

const form = document.querySelector("[data-register]");
const part = form?.querySelector("[data-folder]");
if (part) wire(form, part);

function wire(form, part) {
  const folder = part.querySelector("[name=folder]");
  const paths = part.querySelector("[name=folder_paths]");
  const archive = form.querySelector("[name=archive]");
  const name = form.querySelector("[name=name]");
  part.hidden = !("webkitdirectory" in folder);
  folder.addEventListener("change", () => {
    const files = [...folder.files];
    paths.value = JSON.stringify(files.map((file) => file.webkitRelativePath));
    folder.setCustomValidity(problemOf(files));
    if (files.length) archive.value = "";
    const top = files[0]?.webkitRelativePath.split("/")[0] ?? "";
    if (!name.value && /^[A-Za-z][\w.-]*$/.test(top)) name.value = top;
  });
  archive.addEventListener("change", () => {
    if (!archive.files.length) return;
    folder.value = "";
    paths.value = "";
    folder.setCustomValidity("");
  });
}

function problemOf(files) {
  if (files.length > MOST_FILES)
    return `This folder has ${files.length} files, more than the ${MOST_FILES} that can be sent one by one: pack it as a .zip.`;
  if (files.length && !files.some((file) => file.name === "saved_model.pb"))
    return "There is no saved_model.pb in this folder.";
  return "";
}
