// Copyright (c) 2026 The securebox.stack maintainers
// SPDX-License-Identifier: GPL-3.0-or-later
package org.securebox.standin;

import java.io.IOException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;

/** The smallest pool: one session, kept open as DHIS2 keeps its own, and opened again when the database comes back. */
final class Database implements AutoCloseable {
    /** What one caller at a time does with the session. */
    interface Work<T> {
        T with(Connection session) throws IOException, SQLException;
    }

    private static final int SECONDS = 10;
    private final Settings settings;
    private Connection session;

    Database(Settings settings) {
        this.settings = settings;
    }

    synchronized <T> T run(Work<T> work) throws IOException, SQLException {
        if (session == null || !session.isValid(SECONDS)) {
            close();
            DriverManager.setLoginTimeout(SECONDS);
            session = DriverManager.getConnection(
                    settings.value("connection.url"),
                    settings.value("connection.username"),
                    settings.value("connection.password"));
        }
        return work.with(session);
    }

    @Override
    public synchronized void close() throws SQLException {
        if (session != null) {
            session.close();
            session = null;
        }
    }
}
