import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;

/**
 * Takes orders: each order and its message are one transaction, with JDBC.
 *
 * <p>usage: java Orders DATABASE-URL CUSTOMER:TOTAL... — an order beyond the customer's credit is declined. The URL is JDBC's, such
 * as jdbc:postgresql://localhost/shop?user=shop
 *
 * <p>The database needs an outbox (outbox init URL) and the tables of shop.sql.
 */
public final class Orders {
    private Orders() {}

    private static void insertOrder(Connection connection, String customer, int number, int total) throws SQLException {
        try (PreparedStatement insert =
                connection.prepareStatement("INSERT INTO orders (customer, number, total) VALUES (?, ?, ?)")) {
            insert.setString(1, customer);
            insert.setInt(2, number);
            insert.setInt(3, total);
            insert.executeUpdate();
        }
    }

    private static void publish(Connection connection, String customer, int number, int total) throws SQLException {
        String payload = String.format("{\"customer\":\"%s\",\"number\":%d,\"total\":%d}", customer, number, total);

        try (PreparedStatement insert = connection.prepareStatement(
                "INSERT INTO outbox.message (topic, partition_key, content_type, payload)"
                        + " VALUES ('orders.placed', ?, 'application/json', ?)")) {
            insert.setString(1, customer);
            insert.setString(2, payload);
            insert.executeUpdate();
        }
    }

    /** Within a transaction. Returns whether the customer has the credit. */
    private static boolean write(Connection connection, String customer, int total) throws SQLException {
        // First what takes the customer's row lock: so the orders of one customer are published in their order.
        try (PreparedStatement update = connection.prepareStatement(
                "UPDATE customers SET orders = orders + 1, credit = credit - ? WHERE name = ? RETURNING orders, credit")) {
            update.setInt(1, total);
            update.setString(2, customer);
            try (ResultSet row = update.executeQuery()) {
                row.next();
                insertOrder(connection, customer, row.getInt(1), total);
                publish(connection, customer, row.getInt(1), total);
                return row.getInt(2) >= 0;
            }
        }
    }

    private static boolean place(Connection connection, String customer, int total) throws SQLException {
        boolean placed = false;

        try {
            placed = write(connection, customer, total);
        } finally {
            // Both or neither: nothing of a declined order may stay, and no message either.
            if (placed) {
                connection.commit();
            } else {
                connection.rollback();
            }
        }
        return placed;
    }

    public static void main(String[] args) throws SQLException {
        try (Connection connection = DriverManager.getConnection(args[0])) {
            connection.setAutoCommit(false);
            for (int i = 1; i < args.length; i++) {
                String[] words = args[i].split(":");

                System.out.println(
                        (place(connection, words[0], Integer.parseInt(words[1])) ? "placed " : "declined ") + words[0]);
            }
        }
    }
}
