// Large files go to the server in pieces (tus 1.0.0) and go on where they broke off; small ones are sent with the form.
// Attributes are read by their names: `form.dataset` is this form's field of that name.

const PIECE = 8 * 1024 * 1024;
const TRIES = 5;

for (const form of document.querySelectorAll("[data-uploads]")) {
  form.addEventListener("submit", (event) => {
    const file = form.elements.file.files[0];
    if (!file || file.size <= PIECE || form.elements.upload.value) return;
    event.preventDefault();
    send(form, file);
  });
}

async function send(form, file) {
  const bar = form.querySelector("progress");
  const trouble = form.querySelector("[data-trouble]");
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  bar.hidden = false;
  trouble.hidden = true;
  try {
    const place = await whole(form, file, (sent) => (bar.value = (100 * sent) / file.size));
    form.elements.upload.value = place.match(/(\d+)\/$/)[1];
    form.elements.file.value = "";
    form.submit();
  } catch (error) {
    trouble.textContent = error.sentence ?? form.getAttribute("data-broken");
    trouble.hidden = false;
    bar.hidden = true;
    button.disabled = false;
  }
}

// Returns the address of the upload once every byte is there.
async function whole(form, file, tell) {
  const address = form.getAttribute("data-uploads");
  const key = `upload ${address} ${file.name} ${file.size} ${file.lastModified}`;
  let place = localStorage.getItem(key);
  let offset = place ? await arrived(place) : null;
  if (offset === null) {
    place = await announced(address, file);
    localStorage.setItem(key, place);
    offset = 0;
  }
  for (let tries = 0; offset < file.size; ) {
    tell(offset);
    try {
      const reply = await ask("PATCH", place, {
        headers: { "Content-Type": "application/offset+octet-stream", "Upload-Offset": offset },
        body: file.slice(offset, offset + PIECE),
      });
      offset = Number(reply.headers.get("Upload-Offset"));
      tries = 0;
    } catch (error) {
      if (++tries === TRIES) throw error;
      await new Promise((done) => setTimeout(done, 500 * 2 ** tries));
      offset = (await arrived(place)) ?? offset;
    }
  }
  localStorage.removeItem(key);
  return place;
}

async function announced(address, file) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const reply = await ask("POST", address, {
    headers: { "Upload-Length": file.size, "Upload-Metadata": `filename ${name}` },
  });
  return new URL(reply.headers.get("Location")).pathname;
}

async function arrived(place) {
  try {
    return Number((await ask("HEAD", place, {})).headers.get("Upload-Offset"));
  } catch {
    return null;
  }
}

async function ask(method, address, { headers = {}, body }) {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? "";
  const reply = await fetch(address, {
    method,
    body,
    headers: { "Tus-Resumable": "1.0.0", "X-CSRFToken": token, ...headers },
  });
  if (reply.ok) return reply;
  const problem = method === "HEAD" ? {} : await reply.json().catch(() => ({}));
  throw Object.assign(new Error(reply.status), { sentence: problem.detail });
}
