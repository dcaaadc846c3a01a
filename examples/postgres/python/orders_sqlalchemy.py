#!/usr/bin/env python3
"""Takes orders: each order and its message are one transaction, with SQLAlchemy's object-relational mapper.

usage: orders_sqlalchemy.py DATABASE-URL CUSTOMER:TOTAL...      an order beyond the customer's credit is declined

The database needs an outbox (outbox init URL) and the tables of ../shop.sql.
"""
import json
import sys
import uuid
from typing import Optional

from sqlalchemy import ForeignKey, FetchedValue, create_engine, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    name: Mapped[str] = mapped_column(primary_key=True)
    credit: Mapped[int]
    orders: Mapped[int]


class Order(Base):
    __tablename__ = "orders"
    customer: Mapped[str] = mapped_column(ForeignKey("customers.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]


class Message(Base):
    """The outbox, of which an application writes these columns and reads none but the id back."""
    __tablename__ = "message"
    __table_args__ = {"schema": "outbox"}
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=FetchedValue())
    topic: Mapped[str]
    partition_key: Mapped[Optional[str]]
    payload: Mapped[Optional[str]]
    content_type: Mapped[Optional[str]]
    headers: Mapped[Optional[dict]] = mapped_column(JSONB(none_as_null=True))


class Declined(Exception):
    """Nothing of the order may stay, and no message either."""


def place(session, name, total):
    # First what takes the customer's row lock: so the orders of one customer are published in their order.
    customer = session.scalars(select(Customer).where(Customer.name == name).with_for_update()).one()
    customer.orders += 1
    customer.credit -= total
    session.add(Order(customer=name, number=customer.orders, total=total))
    session.add(Message(topic="orders.placed", partition_key=name, content_type="application/json",
                        payload=json.dumps({"customer": name, "number": customer.orders, "total": total})))
    session.flush()
    if customer.credit < 0:
        raise Declined


def main():
    url = sys.argv[1].replace("postgresql://", "postgresql+psycopg://", 1)
    # Without prepared statements it also works behind a proxy that gives a connection for one transaction only.
    engine = create_engine(url, connect_args={"prepare_threshold": None})
    for word in sys.argv[2:]:
        customer, _, total = word.partition(":")
        try:
            with Session(engine) as session, session.begin():
                place(session, customer, int(total))
            print("placed", customer)
        except Declined:
            print("declined", customer)


if __name__ == "__main__":
    main()
