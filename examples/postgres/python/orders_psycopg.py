#!/usr/bin/env python3
"""Takes orders: each order and its message are one transaction, with psycopg.

usage: orders_psycopg.py DATABASE-URL CUSTOMER:TOTAL...      an order beyond the customer's credit is declined

The database needs an outbox (outbox init URL) and the tables of ../shop.sql.
"""
import sys

import psycopg
from psycopg.types.json import Jsonb


class Declined(Exception):
    """Nothing of the order may stay, and no message either."""


def place(connection, customer, total):
    with connection.transaction():
        # First what takes the customer's row lock: so the orders of one customer are published in their order.
        number, credit = connection.execute(
            "UPDATE customers SET orders = orders + 1, credit = credit - %s WHERE name = %s RETURNING orders, credit",
            (total, customer)).fetchone()
        connection.execute("INSERT INTO orders (customer, number, total) VALUES (%s, %s, %s)", (customer, number, total))
        connection.execute(
            "SELECT outbox.publish('orders.placed', %s, partition_key => %s, content_type => 'application/json')",
            (Jsonb({"customer": customer, "number": number, "total": total}), customer))
        if credit < 0:
            raise Declined


def main():
    # Without prepared statements it also works behind a proxy that gives a connection for one transaction only.
    with psycopg.connect(sys.argv[1], autocommit=True, prepare_threshold=None) as connection:
        for word in sys.argv[2:]:
            customer, _, total = word.partition(":")
            try:
                place(connection, customer, int(total))
                print("placed", customer)
            except Declined:
                print("declined", customer)


if __name__ == "__main__":
    main()
