// Takes orders: each order and its message are one transaction, with node-postgres.
//
// usage: node orders.js DATABASE-URL CUSTOMER:TOTAL...      an order beyond the customer's credit is declined
//
// The database needs an outbox (outbox init URL) and the tables of ../shop.sql.
import pg from "pg";

// Nothing of the order may stay, and no message either.
class Declined extends Error {}

async function write(client, customer, total) {
  // First what takes the customer's row lock: so the orders of one customer are published in their order.
  const { rows } = await client.query(
    "UPDATE customers SET orders = orders + 1, credit = credit - $2 WHERE name = $1 RETURNING orders, credit",
    [customer, total],
  );
  const number = rows[0].orders;
  await client.query("INSERT INTO orders (customer, number, total) VALUES ($1, $2, $3)", [customer, number, total]);
  await client.query(
    "INSERT INTO outbox.message (topic, partition_key, content_type, payload) VALUES ($1, $2, $3, $4)",
    ["orders.placed", customer, "application/json", JSON.stringify({ customer, number, total })],
  );
  if (rows[0].credit < 0) throw new Declined();
}

async function place(client, customer, total) {
  await client.query("BEGIN");
  try {
    await write(client, customer, total);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

const [url, ...words] = process.argv.slice(2);
const client = new pg.Client(url);
await client.connect();
try {
  for (const word of words) {
    const [customer, total] = word.split(":");
    try {
      await place(client, customer, Number(total));
      console.log("placed", customer);
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      console.log("declined", customer);
    }
  }
} finally {
  await client.end();
}
