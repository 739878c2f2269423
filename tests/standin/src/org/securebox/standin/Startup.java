// Copyright (c) 2026 The securebox.stack maintainers
// SPDX-License-Identifier: GPL-3.0-or-later
package org.securebox.standin;

import jakarta.servlet.ServletContextEvent;
import jakarta.servlet.ServletContextListener;
import java.nio.file.Files;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Set;
import java.util.TreeSet;

/** Like DHIS2: without its database, and the extensions in it, the application does not start. */
public final class Startup implements ServletContextListener {
    @Override
    public void contextInitialized(ServletContextEvent event) {
        try {
            // The driver lies in the application, where DriverManager does not look by itself.
            Class.forName("org.postgresql.Driver");
            Settings settings = Settings.read();
            settings.value("encryption.password");
            Files.createDirectories(settings.uploads());
            Database database = new Database(settings);
            database.run(session -> {
                try (Statement statement = session.createStatement()) {
                    requireExtensions(settings, statement);
                    return statement.execute("CREATE TABLE IF NOT EXISTS entry (id bigint GENERATED ALWAYS AS IDENTITY"
                            + " PRIMARY KEY, written timestamptz NOT NULL DEFAULT now(), value text NOT NULL)");
                }
            });
            event.getServletContext().setAttribute("settings", settings);
            event.getServletContext().setAttribute("database", database);
        } catch (Exception problem) {
            throw new IllegalStateException("Stand-in cannot start: " + problem.getMessage(), problem);
        }
    }

    @Override
    public void contextDestroyed(ServletContextEvent event) {
        if (event.getServletContext().getAttribute("database") instanceof Database database) {
            try {
                database.close();
            } catch (SQLException problem) {
                event.getServletContext().log("The session could not be closed", problem);
            }
        }
    }

    private static void requireExtensions(Settings settings, Statement statement) throws SQLException {
        String names = settings.values().getProperty("standin.extensions", "postgis,pg_trgm,btree_gin");
        Set<String> missing = new TreeSet<>(Set.of(names.split(",")));
        try (ResultSet rows = statement.executeQuery("SELECT extname FROM pg_extension")) {
            while (rows.next()) {
                missing.remove(rows.getString(1));
            }
        }
        if (!missing.isEmpty()) {
            throw new IllegalStateException("the database lacks the extensions " + missing);
        }
    }
}
