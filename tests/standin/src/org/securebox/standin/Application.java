// Copyright (c) 2026 The securebox.stack maintainers
// SPDX-License-Identifier: GPL-3.0-or-later
package org.securebox.standin;

import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.Part;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.UUID;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A page for people, and an interface for tests: a row in the database, a file below DHIS2_HOME, and lists of both. */
public final class Application extends HttpServlet {
    static final String VERSION = "1.0";

    @Override
    protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
        try {
            switch (request.getServletPath()) {
                case "/api/ping" -> answer(response, "text/plain", "pong");
                case "/api/entries" -> answer(response, "application/json", entries());
                case "/api/uploads" -> answer(response, "application/json", uploads());
                case "/api/session" -> {
                    request.getSession(true);
                    answer(response, "text/plain", "begun");
                }
                case "/api/status" -> answer(response, "application/json", status(request));
                case "/", "" -> answer(response, "text/html", page(request));
                default -> response.sendError(HttpServletResponse.SC_NOT_FOUND);
            }
        } catch (SQLException problem) {
            log("The database does not answer", problem);
            response.sendError(HttpServletResponse.SC_SERVICE_UNAVAILABLE);
        }
    }

    @Override
    protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException, ServletException {
        try {
            switch (request.getServletPath()) {
                case "/api/entries" -> created(response, write(text(request)));
                case "/api/uploads" -> created(response, store(request));
                default -> response.sendError(HttpServletResponse.SC_NOT_FOUND);
            }
        } catch (SQLException problem) {
            log("The database does not answer", problem);
            response.sendError(HttpServletResponse.SC_SERVICE_UNAVAILABLE);
        }
    }

    private Settings settings() {
        return (Settings) getServletContext().getAttribute("settings");
    }

    private Database database() {
        return (Database) getServletContext().getAttribute("database");
    }

    private long write(String value) throws IOException, SQLException {
        return database().run(session -> {
            try (PreparedStatement insert =
                    session.prepareStatement("INSERT INTO entry (value) VALUES (?) RETURNING id")) {
                insert.setString(1, value);
                try (ResultSet row = insert.executeQuery()) {
                    row.next();
                    return row.getLong(1);
                }
            }
        });
    }

    /** The name is ours, so that nobody's name of a file ever reaches the file system. */
    private String store(HttpServletRequest request) throws IOException, ServletException {
        String name = UUID.randomUUID().toString();
        Path file = settings().uploads().resolve(name);
        String type = request.getContentType();
        if (type != null && type.startsWith("multipart/")) {
            Part part = request.getParts().iterator().next();
            try (InputStream body = part.getInputStream()) {
                Files.copy(body, file);
            }
        } else {
            try (InputStream body = request.getInputStream()) {
                Files.copy(body, file);
            }
        }
        return name;
    }

    private String entries() throws IOException, SQLException {
        return database().run(session -> {
            try (Statement statement = session.createStatement();
                    ResultSet row = statement.executeQuery("SELECT coalesce(json_agg(e ORDER BY e.id), '[]') FROM entry e")) {
                row.next();
                return row.getString(1);
            }
        });
    }

    private String uploads() throws IOException {
        try (Stream<Path> files = Files.list(settings().uploads())) {
            return files.map(file -> file.getFileName().toString())
                    .sorted()
                    .map(Application::quoted)
                    .collect(Collectors.joining(", ", "[", "]"));
        }
    }

    /** How many entries, whether the session is encrypted, and by which version of TLS. */
    private String[] facts() throws IOException, SQLException {
        return database().run(session -> {
            try (Statement statement = session.createStatement();
                    ResultSet row = statement.executeQuery("SELECT (SELECT count(*) FROM entry), ssl,"
                            + " coalesce(version, 'none') FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) {
                row.next();
                return new String[] {row.getString(1), String.valueOf(row.getBoolean(2)), row.getString(3)};
            }
        });
    }

    private String status(HttpServletRequest request) throws IOException, SQLException {
        String[] facts = facts();
        return "{\"version\": " + quoted(VERSION) + ", \"entries\": " + facts[0] + ", \"database_tls\": " + facts[1]
                + ", \"database_tls_version\": " + quoted(facts[2])
                + ", \"client\": " + quoted(request.getRemoteAddr()) + ", \"scheme\": " + quoted(request.getScheme())
                + ", \"secure\": " + request.isSecure() + ", \"port\": " + request.getServerPort() + "}";
    }

    private String page(HttpServletRequest request) throws IOException, SQLException {
        String[] facts = facts();
        return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Stand-in</title></head><body>\n"
                + "<h1>Stand-in " + VERSION + "</h1>\n<dl>\n"
                + row("Entries", facts[0])
                + row("Database over TLS", Boolean.parseBoolean(facts[1]) ? "yes, " + facts[2] : "no")
                + row("Your address", request.getRemoteAddr())
                + row("Scheme", request.getScheme())
                + "</dl>\n</body></html>\n";
    }

    private static String row(String name, String value) {
        return "<dt>" + name + "</dt><dd>" + escaped(value) + "</dd>\n";
    }

    private static String escaped(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ") + '"';
    }

    private static String text(HttpServletRequest request) throws IOException {
        return new String(request.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }

    private static void created(HttpServletResponse response, Object id) throws IOException {
        response.setStatus(HttpServletResponse.SC_CREATED);
        answer(response, "application/json", "{\"id\": " + quoted(String.valueOf(id)) + "}");
    }

    private static void answer(HttpServletResponse response, String type, String text) throws IOException {
        response.setContentType(type);
        response.setCharacterEncoding("UTF-8");
        response.getWriter().write(text);
    }
}
