// Copyright (c) 2026 The securebox.stack maintainers
// SPDX-License-Identifier: GPL-3.0-or-later
package org.securebox.standin;

import java.io.IOException;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/** What DHIS2 reads too: $DHIS2_HOME, and the dhis.conf there. */
record Settings(Path home, Properties values) {
    static Settings read() throws IOException {
        String home = System.getenv("DHIS2_HOME");
        if (home == null) {
            throw new IOException("DHIS2_HOME is not set");
        }
        Properties values = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(home, "dhis.conf"), StandardCharsets.UTF_8)) {
            values.load(reader);
        }
        return new Settings(Path.of(home), values);
    }

    String value(String key) throws IOException {
        String value = values.getProperty(key, "").trim();
        if (value.isEmpty()) {
            throw new IOException("dhis.conf has no " + key);
        }
        return value;
    }

    Path uploads() {
        return home.resolve("files");
    }
}
