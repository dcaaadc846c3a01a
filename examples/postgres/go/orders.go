// Takes orders: each order and its message are one transaction, with pgx.
//
// usage: orders DATABASE-URL CUSTOMER:TOTAL...      an order beyond the customer's credit is declined
//
// The database needs an outbox (outbox init URL) and the tables of ../shop.sql.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Nothing of the order may stay, and no message either.
var errDeclined = errors.New("declined")

type order struct {
	Customer string `json:"customer"`
	Number   int    `json:"number"`
	Total    int    `json:"total"`
}

func write(ctx context.Context, tx pgx.Tx, customer string, total int) error {
	it := order{Customer: customer, Total: total}
	var credit int
	// First what takes the customer's row lock: so the orders of one customer are published in their order.
	err := tx.QueryRow(ctx, `UPDATE customers SET orders = orders + 1, credit = credit - $2 WHERE name = $1
		RETURNING orders, credit`, customer, total).Scan(&it.Number, &credit)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(it)
	if err != nil {
		return err
	}
	// Two statements in one round trip.
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO orders (customer, number, total) VALUES ($1, $2, $3)", it.Customer, it.Number, it.Total)
	batch.Queue("INSERT INTO outbox.message (topic, partition_key, content_type, payload) VALUES ($1, $2, $3, $4)",
		"orders.placed", it.Customer, "application/json", string(payload))
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return err
	}
	if credit < 0 {
		return errDeclined
	}
	return nil
}

func place(ctx context.Context, conn *pgx.Conn, customer string, total int) error {
	// Commits when the function returns no error, and rolls back otherwise.
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return write(ctx, tx, customer, total)
	})
}

func run(ctx context.Context, url string, words []string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, word := range words {
		customer, text, _ := strings.Cut(word, ":")
		total, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		switch err := place(ctx, conn, customer, total); {
		case err == nil:
			fmt.Println("placed", customer)
		case errors.Is(err, errDeclined):
			fmt.Println("declined", customer)
		default:
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: orders DATABASE-URL CUSTOMER:TOTAL...")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}
