# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What machines say becomes a promise kept or broken: the parts of the suite that can be wrong without a machine."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

SUITE = Path(__file__).resolve().parents[2] / "testinfra"
NOW = 1_795_000_000  # 2026-11-18T11:06:40Z


class Run:
    """Tests of one module, with answers put in: {name of the question: text}, the same on every machine."""

    def __init__(self, module, variables=None, **answers):
        from machine import Answer, Site

        own = {"hardening_admins": [{"name": "alice"}], **(variables or {})}
        self.site = Site(hosts={"box": own, "db1": own}, groups={"box": ["box"], "tiers": ["db1"], "db": ["db1"]})
        self.module, self.answers, self.evidence, self.scans = module, answers, [], {}
        self.answer = Answer

    def said(self, _host, name):
        given = self.answers[name]
        return given if isinstance(given, self.answer) else self.answer(0, given)

    def having(self, variable, *only):
        hosts = [host for host in only or self.site.machines if self.site.on(host, variable)]
        if not hosts:
            raise LookupError(f"{variable} is off")
        return hosts

    def not_applicable(self, reason):
        raise LookupError(reason)

    def __call__(self, name, **more):
        function = getattr(self.module, name)
        given = {
            "site": self.site,
            "said": self.said,
            "having": self.having,
            "evidence": self.evidence.append,
            "not_applicable": self.not_applicable,
            "scanned": self.scans.__setitem__,
            **dict.fromkeys(("own_kernel", "audited")),
            **more,
        }
        function(**{key: given[key] for key in function.__code__.co_varnames[: function.__code__.co_argcount]})
        return "\n".join(self.evidence)


MODULES = sorted(path.stem.removeprefix("test_") for path in SUITE.glob("test_*.py"))
HARDENING = ["accounts", "audit", "bans", "filesystem", "integrity", "kernel", "logging", "memory", "passwords", "scan",
             "services", "ssh", "updates"]  # fmt: skip


@pytest.mark.parametrize("name", HARDENING)
def test_questions_are_scripts_that_a_shell_understands(load, name):
    """Also when variables hold what a shell would take for its own."""
    import subprocess

    evil = "a; touch b'\"$(c)"
    variables = {
        "hardening_admins": [{"name": evil, "second_factor": "totp"}],
        "hardening_sudo_rules": [{"who": evil, "commands": ["/bin/a *"]}],
        "hardening_services_off": [evil],
        "hardening_packages_absent": [evil],
        "hardening_modules_off": [evil],
        "hardening_apparmor_complain": [evil],
    }
    module = load(name)
    asked = module.questions(Run(module, variables).site)
    assert asked["box"]
    for questions in asked.values():
        for question, script in questions.items():
            assert question.isidentifier()
            assert "\nQUESTION\n" not in script
            done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{question}: {done.stderr}"


# ssh


GOOD_KEX = "sntrup761x25519-sha512@openssh.com,curve25519-sha256,kex-strict-s-v00@openssh.com"


def negotiation(kex=GOOD_KEX, ciphers="aes256-ctr"):
    return "\n".join([
        "debug2: local client KEXINIT proposal", "debug2: KEX algorithms: diffie-hellman-group14-sha1",
        "debug2: peer server KEXINIT proposal", f"debug2: KEX algorithms: {kex}",
        "debug2: host key algorithms: ssh-ed25519", f"debug2: ciphers ctos: {ciphers}",
        "debug2: ciphers stoc: aes256-gcm@openssh.com", "debug2: MACs ctos: hmac-sha2-512-etm@openssh.com",
        "debug2: MACs stoc: hmac-sha2-512-etm@openssh.com", "debug1: kex: algorithm: curve25519-sha256",
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("test_ssh_offers_nothing_weak", negotiation(), None),
        ("test_ssh_offers_nothing_weak", negotiation(ciphers="aes256-ctr,aes128-cbc"), r"aes128-cbc \(ciphers\)"),
        ("test_ssh_offers_nothing_weak", negotiation(kex="curve25519-sha256"), "no strict key exchange"),
        ("test_ssh_offers_nothing_weak", "Connection closed", "did not say"),
        ("test_what_is_recorded_today_stays_secret", negotiation(), None),
        ("test_what_is_recorded_today_stays_secret", negotiation(kex="curve25519-sha256"), "curve25519"),
    ],
)
def test_only_what_the_server_offers_is_judged(load, name, text, why):
    run = Run(load("ssh"))
    stranger = run.answer(255, "", text)
    if why is None:
        assert "sntrup761" in run(name, stranger=stranger)
    else:
        with pytest.raises(AssertionError, match=why):
            run(name, stranger=stranger)


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        ("totp", "authenticationmethods publickey,keyboard-interactive:pam", None),
        ("totp", "authenticationmethods publickey", "gets in with publickey"),
        ("fido2", "pubkeyacceptedalgorithms sk-ssh-ed25519@openssh.com\npubkeyauthoptions verify-required", None),
        ("fido2", "pubkeyacceptedalgorithms sk-ssh-ed25519@openssh.com\npubkeyauthoptions none", "needs no PIN"),
        ("fido2", "pubkeyacceptedalgorithms ssh-ed25519\npubkeyauthoptions verify-required", "a key in a file"),
    ],
)
def test_a_second_factor_is_what_sshd_says(load, kind, settings, why):
    admins = {"hardening_admins": [{"name": "alice", "second_factor": kind}, {"name": "bob"}]}
    run = Run(load("ssh"), admins, sshd_0=settings, codes="alice\nauth required pam_oath.so")
    if why is None:
        assert "with a key alone: bob" in run("test_a_key_alone_is_not_enough")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_a_key_alone_is_not_enough")


# Accounts


def sudoers(*rules):
    return json.dumps({"User_Specs": [
        {"User_List": [{kind: who}], "Cmnd_Specs": [{"Commands": [{"command": what}]}]} for kind, who, what in rules
    ]})  # fmt: skip


def test_sudo_for_others_names_commands(load):
    everything = [("username", "root", "ALL"), ("usergroup", "sudo", "ALL"), ("username", "alice", "ALL")]
    good = sudoers(*everything, ("username", "bob", "/usr/bin/id -u"))
    assert "bob may /usr/bin/id -u" in Run(load("accounts"), sudoers=good)("test_sudo_names_single_commands_to_others")
    for bad in (("username", "bob", "ALL"), ("usergroup", "staff", "ALL")):
        with pytest.raises(AssertionError, match="may ALL"):
            Run(load("accounts"), sudoers=sudoers(*everything, bad))("test_sudo_names_single_commands_to_others")


def test_postgres_has_its_shell_in_the_database_alone(load):
    with pytest.raises(AssertionError, match="box: postgres has /bin/bash"):
        Run(load("accounts"), shells="postgres /bin/bash", running="9 root")(
            "test_services_have_accounts_without_a_shell"
        )


def test_a_member_of_lxd_is_an_administrator(load):
    members = "sudo:x:27:alice\nlxd:x:102:mallory"
    with pytest.raises(AssertionError, match=r"mallory \(lxd\)"):
        Run(load("accounts"), members=members)("test_nobody_else_is_an_administrator")


SHELL = "login 900\nbash: line 1: TMOUT: readonly variable\nother assigned\nother 900"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (SHELL, None),
        (SHELL.replace("login 900", "login 7200"), "stays open for 7200 s"),
        (SHELL.replace("login 900", "login "), "for ever"),
        (SHELL.replace("bash: line 1: TMOUT: readonly variable", "switched off"), "can switch it off"),
    ],
)
def test_idle_shells(load, text, why):
    run = Run(load("accounts"), shell=text, sshd="clientaliveinterval 100")
    if why is None:
        assert "clientaliveinterval 100" in run("test_idle_sessions_end")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_idle_sessions_end")


# Kernel


@pytest.mark.parametrize(
    ("family", "own", "every", "broken"),
    [
        ("ipv4", {"send_redirects": 1}, {}, ["sends redirects"]),
        ("ipv4", {}, {"send_redirects": 1}, ["sends redirects"]),
        ("ipv4", {"accept_redirects": 1}, {}, ["believes redirects"]),
        ("ipv4", {"accept_redirects": 1, "forwarding": 1}, {}, []),
        ("ipv4", {"accept_source_route": 1}, {}, []),
        ("ipv4", {"accept_source_route": 1}, {"accept_source_route": 1}, ["takes the sender's word for the route"]),
        ("ipv6", {"accept_redirects": 1}, {}, ["believes redirects"]),
        ("ipv6", {"accept_redirects": 1, "forwarding": 1}, {}, []),
        ("ipv6", {}, {"accept_redirects": 1}, []),
    ],
)
def test_interfaces_are_judged_as_the_kernel_joins_them(load, family, own, every, broken):
    found = {(family, "eth0", name): value for name, value in own.items()}
    found.update({(family, "all", name): value for name, value in every.items()})
    assert list(load("kernel").bad(found, family, "eth0")) == broken


def test_a_parameter_that_another_program_changed_fails(load):
    kernel = load("kernel")
    wanted = "\n".join(["# a comment", "kernel.example = 1", "kernel.unknown_here = 1"])
    good = "\n".join(f"{name} = {value}" for name, value in {**kernel.PARAMETERS, "kernel.example": "1"}.items())
    answers = {"wanted": wanted, "container": Run(kernel).answer(1, "none")}
    shown = Run(kernel, actual=good, **answers)("test_the_kernel_has_the_parameters")
    assert "this kernel has no kernel.unknown_here" in shown
    with pytest.raises(AssertionError, match=r"kernel\.kptr_restrict is 0, not 2"):
        Run(kernel, actual=good.replace("kptr_restrict = 2", "kptr_restrict = 0"), **answers)(
            "test_the_kernel_has_the_parameters"
        )


LOADED = "Y\n/usr/sbin/sshd (enforce)\n:lxd-db1_<x>:/usr/bin/man (complain)"
PROFILES = f"{LOADED}\n\n  7 unconfined\n  3 lxd-db1_<x> (enforce)"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PROFILES, None),
        (PROFILES.replace("Y\n", "Y\ndnsmasq (complain)\ndnsmasq//helper (complain)\n"), None),
        (PROFILES.replace("Y\n", "Y\n/usr/sbin/ntpd (complain)\n"), "only complain: /usr/sbin/ntpd"),
        (PROFILES.replace("sshd (enforce)", "sshd (unconfined)"), "no profile is enforced"),
        ("cat: no such file", "runs without AppArmor"),
    ],
)
def test_profiles(load, text, why):
    run = Run(load("kernel"), apparmor=text, complain="dnsmasq")
    if why is None:
        assert "3 confined, 7 not" in run("test_apparmor_enforces_its_profiles")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_apparmor_enforces_its_profiles")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("db1 lxd-db1_</var/lib/lxd> (enforce)\n- unconfined", None),
        ("db1 unconfined\n- unconfined", "not confined: db1"),
        ("db1 lxd-app1_</var/lib/lxd> (enforce)\n- unconfined", "not confined: db1"),
        ("- unconfined", "no running container"),
        ("db1 \n- ", "does not tell"),
    ],
)
def test_containers_have_a_profile_of_their_own(load, text, why):
    run = Run(load("kernel"), confined=text)
    if why is None:
        assert "db1: lxd-db1_" in run("test_containers_are_confined")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_containers_are_confined")


# Audit

def deeds(audit, other: str = "", **events: str) -> str:
    """What the machine says of a deed of each family, each found but those that are given."""
    event = "type=SYSCALL msg=audit(1.2:3): pid=7 auid=1000"
    found = [[key, 7, events.get(key.replace("-", "_"), event)] for key in audit.DEEDS]
    return json.dumps([*found, ["scope", 9, other]])


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ({}, None),
        ({"time_change": ""}, r"left no trace: time-change \(pid 7\)"),
        ({"mounts": "type=SYSCALL pid=7 auid=4294967295"}, "whose session it was: mounts"),
        ({"other": "type=SYSCALL pid=9 auid=1000"}, "finds anything"),
    ],
)
def test_events_and_what_nobody_watches(load, events, why):
    class Box:
        user = "alice"

    audit = load("audit")
    run, name = Run(audit, deeds=deeds(audit, **events)), "test_each_family_of_events_is_written_down"
    if why is None:
        assert "auid=1000" in run(name, box=Box)
    else:
        with pytest.raises(AssertionError, match=why):
            run(name, box=Box)


def test_each_family_has_a_deed(load):
    audit = load("audit")
    assert audit.DEEDS.keys() == audit.KEYS.keys()


def test_deeds_are_done_and_found_by_number(tmp_path, monkeypatch):
    """Here by a record that is written by hand: this kernel may have none."""
    source = (SUITE / "probes/deeds.py").read_text()
    probe = types.ModuleType("deeds")
    exec(compile(source, "deeds.py", "exec"), probe.__dict__)
    kept, log = tmp_path / "kept", tmp_path / "audit.log"
    kept.write_text("as it was")
    deeds = [("opens", str(tmp_path / "no"), str(kept)), ("runs", "true"), ("loads", "/bin/ls"), ("nothing",)]
    known = [probe.do(verb, arguments) for verb, *arguments in deeds]
    log.write_text("".join(f'type=SYSCALL msg=1 ppid=1 pid={number} auid=1 key="k"\n' for number in [*known, 1]))
    assert set(probe.events(str(log), {*known})) == {("k", number) for number in known}
    assert kept.read_text() == "as it was"
    with pytest.raises(FileNotFoundError):
        probe.opens(str(tmp_path / "no"))


def test_every_family_has_a_rule_in_the_kernel(load):
    audit = load("audit")
    rules = [f"-w /etc/x -p wa -k {key}" for key in audit.KEYS]
    status = "enabled 2\nfailure 1\npid 77\nlost 0\nbacklog 0\n\n"
    name = "test_the_kernel_has_the_rules"
    assert "0 events lost" in Run(audit, rules=status + "\n".join(rules))(name)
    with pytest.raises(AssertionError, match=r"not recorded: scope \(who may become root\)"):
        Run(audit, rules=status + "\n".join(rules[1:]))(name)
    with pytest.raises(AssertionError, match="not immutable"):
        Run(audit, rules=status.replace("enabled 2", "enabled 1") + "\n".join(rules))(name)
    with pytest.raises(AssertionError, match="the kernel has no rules"):
        Run(audit, rules=status + "No rules")(name)
    own = {"hardening_audit_watches": {"/etc/x": "mine"}, "hardening_audit_immutable": False}
    with pytest.raises(AssertionError, match=r"mine \(/etc/x\)"):
        Run(audit, own, rules=status + "\n".join(rules))(name)


# Integrity


def state(*acts, making="inactive", timer="active", digest="a" * 64):
    lines = [str(NOW), making, timer, digest]
    for act, time, changed in acts:
        lines.append(json.dumps({"act": act, "time": time, "added": 0, "removed": 0, "changed": changed,
                                 "database": "a" * 64}))  # fmt: skip
    return "\n".join(lines)


OLD, FRESH = "2026-11-17T02:00:00Z", "2026-11-18T02:00:00Z"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (state(("accept", OLD, 3), ("check", FRESH, 0)), None),
        (state(("check", OLD, 3), ("accept", FRESH, 3)), None),
        (state(("accept", OLD, 0), ("check", FRESH, 3)), "3 files changed"),
        (state(("accept", "2026-11-01T02:00:00Z", 0)), "17 days ago"),
        (state(("check", FRESH, 0), timer="inactive"), "nothing starts"),
        (state(), "never compared"),
        (state(("check", FRESH, 0), digest="b" * 64), "at the last comparison it was a"),
    ],
)
def test_changes_of_files(load, text, why):
    names = ["test_files_are_compared_every_night", "test_no_change_waits_for_an_explanation",
             "test_the_database_is_the_one_that_was_made"]  # fmt: skip
    run = Run(load("integrity"), state=text, next="NextElapse=tomorrow")
    if why is None:
        for name in names:
            run(name)
        return
    with pytest.raises(AssertionError, match=why):
        for name in names:
            run(name)


def test_a_database_in_the_making_proves_nothing(load):
    run = Run(load("integrity"), state=state(making="activating"), next="")
    with pytest.raises(pytest.skip.Exception, match="about to be made"):
        run("test_files_are_compared_every_night")


# Scans


def scan(result=None, since=NOW - 86400, timer="active"):
    return "\n".join([str(NOW), str(since), timer, json.dumps(result) if result else ""])


GOOD = {
    "time": FRESH,
    "lynis": {"version": "3.0.8", "index": 84, "warnings": [["A-1", "a warning"]], "suggestions": []},
    "openscap": {"profile": "cis_level2_server", "passed": 9, "percent": 90.0, "failed": ["rule_x"]},
    "debsecan": {"fixed_but_not_installed": [{"weakness": "CVE-1", "package": "x"}]},
}


@pytest.mark.parametrize(
    ("text", "shown", "why"),
    [
        (scan(GOOD), f"scanned at {FRESH}", None),
        (scan(), "no scan yet; the timer is there for 1 days", None),
        (scan(since=NOW - 20 * 86400), "", "never scanned in 20 days"),
        (scan({**GOOD, "time": "2026-10-01T00:00:00Z"}), "", "48 days ago"),
        (scan(GOOD, timer="inactive"), "", "nothing starts the scan"),
    ],
)
def test_scans_are_not_too_old(load, text, shown, why):
    run = Run(load("scan"), scan=text)
    if why is None:
        assert shown in run("test_machines_are_scanned_every_week")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_machines_are_scanned_every_week")


def test_what_judges_found_is_shown(load):
    run = Run(load("scan"), scan=scan({**GOOD, "lynis": {**GOOD["lynis"], "index": 61}}))
    shown = run("test_what_the_judges_found")
    assert "box: WARNING: Lynis 3.0.8: index 61 of 100, 1 warnings: A-1 a warning" in shown
    assert "90.0 % of the rules hold" in shown
    assert "WARNING: 1 known weaknesses" in shown
    assert set(run.scans) == {"box", "db1"}
    silent = Run(load("scan"), scan=scan({**GOOD, "lynis": {"error": "no room"}, "debsecan": {"error": "no net"}}))
    with pytest.raises(AssertionError, match=r"box: Lynis gave no opinion \(no room\)"):
        silent("test_what_the_judges_found")
    assert "debsecan could not work: no net" in "\n".join(silent.evidence)


# The rest


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cups.service masked inactive", None),
        ("cups.service not-found inactive", None),
        ("cups.service loaded inactive", "cups.service is loaded"),
        ("cups.service masked active", "masked and active"),
        ("other.service masked inactive", "says nothing about"),
    ],
)
def test_units_that_are_off(load, text, why):
    units = [text, "systemd-journald.service loaded active"]
    shown = "\n\n".join("Id={}\nLoadState={}\nActiveState={}".format(*unit.split()) for unit in units)
    run = Run(load("services"), {"hardening_services_off": ["cups.service"]}, units=shown)
    if why is None:
        assert "cups.service" in run("test_what_was_switched_off_cannot_start")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_what_was_switched_off_cannot_start")


def test_packages_that_were_removed_may_leave_their_configuration(load):
    variables = {"hardening_packages_absent": ["telnet", "nis"]}
    name = "test_what_a_server_does_not_need_is_not_installed"
    assert "none of 2" in Run(load("services"), variables, packages="ii dpkg\nrc nis")(name)
    with pytest.raises(AssertionError, match="box has telnet"):
        Run(load("services"), variables, packages="ii dpkg\nhi telnet")(name)


def pam(**more):
    words = ("Ku7_x", "nurkleinbuchstabenhier", "Password-12345678")
    weak = {word: {"code": 7, "said": ["BAD PASSWORD"]} for word in words}
    guesses = {"0": {"wrong": [], "right": 0}, "3": {"wrong": [7] * 3, "right": 0}, "4": {"wrong": [7] * 4, "right": 7}}
    return {"weak": weak, "good": {"code": 0, "said": []}, "guesses": guesses, **more}


def test_pam_refuses_and_takes(load):
    passwords = load("passwords")
    name = "test_weak_passwords_are_refused"
    assert "a good one: taken" in Run(passwords)(name, pam=pam())
    with pytest.raises(AssertionError, match="a good password was refused"):
        Run(passwords)(name, pam=pam(good={"code": 7, "said": ["no dictionary"]}))
    with pytest.raises(AssertionError, match="taken, although short"):
        Run(passwords)(name, pam=pam(weak={**pam()["weak"], "Ku7_x": {"code": 0, "said": []}}))


def test_pam_counts_guesses(load):
    passwords = load("passwords")
    name, settings = "test_guessing_locks_an_account_out", "deny = 4\nunlock_time = 900"
    assert "4 wrong passwords, then the right one: refused" in Run(passwords, faillock=settings)(name, pam=pam())
    endless = {**pam()["guesses"], "4": {"wrong": [7] * 4, "right": 0}}
    with pytest.raises(AssertionError, match="one may go on guessing"):
        Run(passwords, faillock=settings)(name, pam=pam(guesses=endless))
    with pytest.raises(AssertionError):
        Run(passwords, faillock="deny = 4\nunlock_time = 60")(name, pam=pam())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("alice L 2026-01-01 -1 -1 7 -1", None),
        ("alice L 2026-01-01 0 99999 7 -1", None),
        ("alice P 2026-01-01 1 90 7 -1", None),
        ("alice L 2026-01-01 1 90 7 -1", "has to change it in 90 days"),
        ("alice P 2026-01-01 1 99999 7 -1", "good for 99999 days"),
        ("alice NP 2026-01-01 1 90 7 -1", "an empty password: alice"),
    ],
)
def test_ages(load, line, why):
    run = Run(load("passwords"), ages=f"root L 2026-01-01 0 99999 7 -1\n{line}")
    if why is None:
        run("test_passwords_grow_old_and_keys_do_not")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_passwords_grow_old_and_keys_do_not")


def test_a_journal_that_grows_too_big(load):
    logging = load("logging")
    name = "test_the_journal_does_not_fill_the_disk"
    assert "16.0M of 1G" in Run(logging, usage="journals take up 16.0M in the file system.")(name)
    with pytest.raises(AssertionError, match=r"the journal takes 1\.9G"):
        Run(logging, usage="journals take up 1.9G in the file system.")(name)


def test_without_a_log_server_nothing_is_sent(load):
    with pytest.raises(LookupError, match="hardening_log_server is empty"):
        Run(load("logging"), sent="")("test_logs_are_sent_on_over_tls")
    server = {"hardening_log_server": "logs.example.org"}
    with pytest.raises(AssertionError, match=r"no connection to logs\.example\.org"):
        Run(load("logging"), server, sent="")("test_logs_are_sent_on_over_tls")


@pytest.mark.parametrize(
    ("synchronised", "seconds", "why"),
    [("yes", 9e5, None), ("no", 600, None), ("no", 9e5, "no server of time has answered")],
)
def test_the_clock(load, synchronised, seconds, why):
    text = f"Timezone=Etc/UTC\nNTPSynchronized={synchronised}\nTimeUSec=now\nactive\ninactive\n{seconds}"
    run = Run(load("filesystem"), clock=text)
    if why is None:
        assert ("WARNING" in run("test_the_clock_is_right")) == (synchronised == "no")
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_the_clock_is_right")


@pytest.mark.parametrize("value", [False, "false", "no", "Off", 0])
def test_a_subject_that_is_off(load, value):
    run = Run(load("scan"), {"hardening_scan": value})
    with pytest.raises(LookupError, match="hardening_scan is off"):
        run("test_machines_are_scanned_every_week")


TRIED = {"read /etc/shadow": "Permission denied", "list /root": "Permission denied",
         "write to /run": "Permission denied", "run /bin/true": "Permission denied",
         "read /etc/passwd": "done", "open /dev/null": "done"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("main db_postgresql (enforce)\nother db_postgresql (enforce)", None),
        ("main db_postgresql//&db_postgresql_start (enforce)", None),
        ("main db_postgresql_start (enforce)", "not under db_postgresql"),
        ("main db_postgresql (complain)", "not under db_postgresql"),
        ("main db_postgresql (enforce)\nother unconfined", "but unconfined"),
        ("other db_postgresql (enforce)", "does not run"),
        ("", "does not run"),
    ],
)
def test_services_under_their_profiles(load, text, why):
    run = Run(load("apparmor"), db_processes=text)
    if why is None:
        assert "processes, db_postgresql" in run("test_the_service_is_confined", group="db", with_apparmor=None)
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_the_service_is_confined", group="db", with_apparmor=None)


@pytest.mark.parametrize(
    ("free", "held", "why"),
    [
        ({}, {}, None),
        ({}, {"list /root": "done"}, "list /root"),
        ({}, {"read /etc/passwd": "Permission denied"}, "read /etc/passwd"),
        ({"read /etc/shadow": "Permission denied"}, {}, "says nothing"),
    ],
    ids=["as it should be", "one thing is let through", "everything is refused", "refused anyway"],
)
def test_what_profiles_refuse(load, free, held, why):
    told = {"free": {**dict.fromkeys(TRIED, "done"), **free}, "confined": {**TRIED, **held}}
    run = Run(load("apparmor"), db_tried=json.dumps(told))
    if why is None:
        assert "list /root: Permission denied" in run("test_the_profile_refuses", group="db", with_apparmor=None)
    else:
        with pytest.raises(AssertionError, match=why):
            run("test_the_profile_refuses", group="db", with_apparmor=None)


@pytest.mark.parametrize(("mode", "why"), [("off", "is off"), (False, "is off"), ("complain", "is complain")])
def test_a_profile_that_is_not_meant_to_forbid_is_not_judged(load, mode, why):
    run = Run(load("apparmor"), {"db_postgresql_apparmor": mode}, db_processes="main unconfined")
    with pytest.raises(LookupError, match=why):
        run("test_the_service_is_confined", group="db", with_apparmor=None)


JAILS = {
    "hardening_bans_jails": [
        {"name": "login", "kind": "web_login", "files": ["/var/log/received/db/x.log"]},
        {"name": "database", "kind": "postgresql", "files": ["/var/log/received/db/x.log"], "ban": False},
    ],
    "hardening_bans_never": ["203.0.113.7"],
    "hardening_bans_inside": ["10.80.1.1/24"],
    "hardening_received_from": [{"name": "db", "at": "10.80.3.1", "addresses": ["10.80.3.10"], "logs": ["x", "y"]}],
    "hardening_handed_logs": {"x": "/var/log/x.log", "y": "/var/log/y.log"},
    "securebox_address": "10.80.3.10",
}
TABLE = "chain incoming {\n type filter hook prerouting priority mangle; policy accept;\n" + "".join(
    f" {family} saddr @{sort}-set-{name} counter packets 0 bytes 0 drop\n"
    for name in ("sshd", "login")
    for family, sort in (("ip", "addr"), ("ip6", "addr6"))
)


NEVER, ARRIVES = (
    "test_administrators_and_the_box_itself_are_never_shut_out",
    "test_what_containers_log_arrives_on_the_box",
)
HEARD = "0 1 1 /var/log/received/db/x.log\n1 1 1 /var/log/received/db/y.log"
SAFE = "True\nThese IP addresses/networks are ignored:\n|- 127.0.0.0/8\n|- 203.0.113.7\n`- 10.80.1.0/24"


def never(**jails):
    """What fail2ban says of each jail that shuts out."""
    return "\n".join(f"@ {name}\n{text}" for name, text in {"sshd": SAFE, "login": SAFE, **jails}.items())


@pytest.mark.parametrize(
    ("name", "answers", "why"),
    [
        ("test_the_jails_run", {"jails": "`- Jail list:\tdatabase, login, sshd"}, None),
        ("test_the_jails_run", {"jails": "`- Jail list:\tlogin, sshd"}, "not running: .'database'"),
        ("test_the_jails_run", {"jails": "Failed to access socket path"}, "not running"),
        ("test_bans_act_where_all_packets_pass", {"table": TABLE}, None),
        ("test_bans_act_where_all_packets_pass", {"table": TABLE.replace("prerouting", "input")}, "no chain at"),
        ("test_bans_act_where_all_packets_pass", {"table": TABLE.replace("mangle", "dstnat")}, "before the forwarding"),
        ("test_bans_act_where_all_packets_pass", {"table": TABLE.replace("@addr6-set-login", "@x")}, "ip6 saddr"),
        (NEVER, {"never": never()}, None),
        (NEVER, {"never": never(login="True\n`- 10.80.1.0/24")}, "of login: .'203.0.113.7'"),
        (NEVER, {"never": never(sshd="True\n|- 0.0.0.0/0\n|- 203.0.113.7\n`- 10.80.1.0/24")}, "nobody at all"),
        (NEVER, {"never": never(login=SAFE.replace("True", "False"))}, "login may shut out the box itself"),
        (NEVER, {"never": never(login="ERROR no such jail")}, "of login"),
        (ARRIVES, {"heard": HEARD}, None),
        (ARRIVES, {"heard": HEARD.replace("0 1 1", "0 0 0")}, "what was said in /var/log/x.log did not arrive"),
        (ARRIVES, {"heard": HEARD.replace("1 1 1", "1 0 0")}, "what was said in /var/log/y.log did not arrive"),
        (ARRIVES, {"heard": HEARD.splitlines()[0]}, "what was said in /var/log/y.log did not arrive"),
        (ARRIVES, {"heard": HEARD.replace("1 1 1", "1 1 2")}, "y.log has what was said in other logs"),
        (ARRIVES, {"heard": HEARD, "files": "644 /var/log/received/db/x.log"}, "everybody"),
    ],
)  # fmt: skip
def test_bans(load, name, answers, why):
    good = {"counts": "", "files": "640 /var/log/received/db/x.log", "say_0": "", "say_1": ""}
    run = Run(load("bans"), JAILS, **{**good, **answers})
    if why is None:
        run(name)
    else:
        with pytest.raises(AssertionError, match=why):
            run(name)


def test_a_word_for_each_log(load):
    """Not only for the first of a container; and who would see them in a log that nobody hands over?"""
    bans = load("bans")
    run = Run(bans, JAILS, files="640 /x", say_0="", say_1="", heard=HEARD)
    asked = bans.questions(run.site)
    assert set(asked["db1"]) == {"say_0", "say_1"}
    assert bans.word(1) in asked["db1"]["say_1"] and "/var/log/y.log" in asked["db1"]["say_1"]
    assert asked["box"]["heard"].count("/received/db/y.log) &") == 1
    less = Run(bans, {**JAILS, "hardening_handed_logs": {"x": "/var/log/x.log"}}, **run.answers)
    with pytest.raises(AssertionError, match="the box waits for y of db1"):
        less(ARRIVES)
    assert set(bans.questions(less.site)["db1"]) == {"say_0"}


def test_without_an_administrators_address_nobody_is_known_to_be_safe(load):
    run = Run(load("bans"), {**JAILS, "hardening_bans_never": []}, never=never())
    with pytest.raises(pytest.skip.Exception, match="hardening_bans_never is empty: no administrator"):
        run(NEVER)
