// A file is uploaded in parts: a request takes 6 MB, and a part that got lost is sent again.
"use strict";
const PART = 4 * 1024 * 1024;
const TRIES = 5;

async function sent(url, fields, form) {
  const body = new FormData();
  body.set("csrfmiddlewaretoken", form.querySelector("[name=csrfmiddlewaretoken]").value);
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  for (let tries = 1; ; tries += 1) {
    try {
      const answer = await fetch(url, { method: "POST", body });
      if (answer.status < 500) return answer;
    } catch (error) {
      if (tries === TRIES) throw error;
    }
    if (tries === TRIES) throw new Error("The console does not answer. Try again later.");
    await new Promise((resolve) => { setTimeout(resolve, 1000 * tries); });
  }
}

async function answered(answer) {
  const type = answer.headers.get("Content-Type") || "";
  const said = type.startsWith("application/json") ? await answer.json() : {};
  if (!answer.ok) throw new Error(said.error || `The upload was refused (${answer.status}).`);
  return said;
}

async function upload(form, file, progress) {
  const { url } = await answered(await sent(form.dataset.upload, {
    name: file.name, charset: form.elements.charset.value, delimiter: form.elements.delimiter.value,
  }, form));
  for (let offset = 0; offset < file.size; offset += PART) {
    await answered(await sent(url, { do: "part", offset, part: file.slice(offset, offset + PART) }, form));
    progress.value = (100 * Math.min(offset + PART, file.size)) / file.size;
  }
  await answered(await sent(url, { do: "complete" }, form));
  window.location.assign(url);
}

for (const form of document.querySelectorAll("[data-upload]")) {
  form.addEventListener("submit", async (event) => {
    const [file] = form.elements.file.files;
    if (!file || file.size <= PART) return; // in one request, without any of this
    event.preventDefault();
    const [button, error] = [form.querySelector("button"), form.querySelector("[data-upload-error]")];
    form.querySelector("[data-uploading]").hidden = false;
    error.hidden = true;
    button.disabled = true;
    try {
      await upload(form, file, form.querySelector("progress"));
    } catch (problem) {
      error.textContent = problem.message;
      error.hidden = false;
      button.disabled = false;
    }
  });
}
