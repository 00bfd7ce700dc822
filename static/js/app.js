// Every page: the CSRF token as it is now, dialogs, menus, confirmations.

const on = document.addEventListener.bind(document);

// Signing in again changes the token: what stands in forms is then worth nothing, the cookie is right.
on("submit", renewToken, true);

function renewToken({ target }) {
  const field = target.elements.csrfmiddlewaretoken;
  if (field) field.value = document.cookie.match(/(?:^|; )csrftoken=([^;]*)/)?.[1] ?? field.value;
}

on("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    toggle(document.getElementById(opener.dataset.opens));
    document.getElementById(opener.dataset.lands)?.querySelector("input").focus();
  }
  const closer = event.target.closest("[data-closes]");
  if (closer) {
    event.preventDefault();
    closer.closest("dialog").close();
  }
  const copier = event.target.closest("[data-copies]");
  if (copier) copy(copier);
  const focuser = event.target.closest("[data-focuses]");
  if (focuser) {
    event.preventDefault();
    document.getElementById(focuser.dataset.focuses)?.focus();
  }
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

on("keydown", (event) => {
  if (event.key === "Escape") {
    document.querySelector("dialog[data-beside][open]")?.close();
    for (const menu of document.querySelectorAll("[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  // A link that looks like a button also takes the space bar.
  if (event.key === " " && event.target.matches?.("a[role=button]")) {
    event.preventDefault();
    event.target.click();
  }
});

on("submit", (event) => {
  const question = event.target.dataset.confirms;
  if (question && !window.confirm(question)) event.preventDefault();
});

on("htmx:load", ({ target }) => upgrade(target));
upgrade(document);
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// Without JavaScript the server opens a dialog in the page; with it, the same dialog is modal.
function upgrade(root) {
  for (const dialog of root.querySelectorAll("dialog[open]:not(:modal)")) {
    dialog.close();
    open(dialog);
  }
}

// A dialog that has room beside the page does not block it.
function open(dialog) {
  for (const other of document.querySelectorAll("dialog[open]")) other.close();
  if ("beside" in dialog.dataset && matchMedia("(min-width: 75.01rem)").matches) dialog.show();
  else dialog.showModal();
}

function toggle(dialog) {
  if (dialog.open) dialog.close();
  else open(dialog);
}

async function copy(button) {
  const field = document.getElementById(button.dataset.copies);
  field.select();
  await navigator.clipboard?.writeText(field.value);
  button.textContent = button.dataset.done;
}
