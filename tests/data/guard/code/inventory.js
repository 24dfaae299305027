// Counts what is on the shelves.
import { openStore } from "./store.js";

const connection = openStore({ path: "shelves.db", onlyOnce: true });
const reasons = { one: 1, done: false };
let button = document.querySelector("button.count");

button.addEventListener("click", async (event) => {
  const amount = await connection.count(event.target.dataset.shelf);
  const icon = amount > 0 && amount < 10 ? "few" : "many";
  button.textContent = `${icon}: ${amount}`;
});

export const condition = (shelf) => reasons.one === shelf.size && !reasons.done;
