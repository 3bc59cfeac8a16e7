// Which files a person dropped or chose: [{path, file}] below one folder, or one archive.

const ARCHIVE = /\.(zip|tar|tar\.gz|tgz)$/i;

export async function fromDrop(transfer, neverSent) {
  // The entries are there only until this event is over.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  if (entries.length === 1 && entries[0].isFile && ARCHIVE.test(entries[0].name))
    return { archive: await fileOf(entries[0]) };
  const single = entries.length === 1 && entries[0].isDirectory ? entries[0] : null;
  const found = [];
  await walk(single ? await childrenOf(single) : entries, "", neverSent, found);
  return { name: single?.name ?? "", files: found };
}

export function fromInput(list, neverSent) {
  const files = [...list];
  const name = files[0]?.webkitRelativePath.split("/")[0] ?? "";
  const found = files.map((file) => ({
    path: file.webkitRelativePath.split("/").slice(1).join("/"),
    file,
  }));
  return { name, files: found.map((entry) => withoutNeverSent(entry, neverSent)) };
}

// A folder that is never sent is not read, and stands for itself in the list of what is ignored.
async function walk(entries, folder, neverSent, found) {
  for (const entry of entries) {
    const path = folder + entry.name;
    if (entry.isFile) found.push({ path, file: await fileOf(entry) });
    else if (neverSent.has(entry.name)) found.push({ path: `${path}/*`, file: null });
    else await walk(await childrenOf(entry), `${path}/`, neverSent, found);
  }
}

function withoutNeverSent(entry, neverSent) {
  return entry.path.split("/").some((part) => neverSent.has(part)) ? { ...entry, file: null } : entry;
}

function fileOf(entry) {
  return new Promise((resolve, reject) => {
    entry.file(resolve, () => reject(new Error(`${entry.fullPath} cannot be read.`)));
  });
}

async function childrenOf(folder) {
  const reader = folder.createReader();
  const children = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => {
      reader.readEntries(resolve, () => reject(new Error(`${folder.fullPath} cannot be read.`)));
    });
    if (some.length === 0) return children;
    children.push(...some);
  }
}
