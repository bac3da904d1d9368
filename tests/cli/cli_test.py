#!/usr/bin/env python3
"""The millrace program against a broker: every command, every exit code, pipes, Ctrl-C, and bytes that come out as they went in.

cli_test.py MILLRACE MILLRACED [TEST...]
"""
import base64
import errno
import gzip
import json
import os
import pathlib
import pty
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

from harness import DEADLINE_S, MILLRACE, MILLRACED, NOBODY, Broker, Millrace, Result, WithBroker, clean_environment, interrupt

SAMPLE = pathlib.Path(__file__).parents[2] / "deploy/sample/flights-2013-sample.jsonl.gz"
COMMANDS = [["topic"], ["topic", "create"], ["topic", "list"], ["topic", "describe"], ["topic", "alter"], ["topic", "delete"],
            ["topic", "trim"], ["produce"], ["consume"], ["offsets"], ["bench"], ["bench", "produce"], ["bench", "consume"],
            ["bench", "end-to-end"], ["group"], ["group", "list"], ["group", "describe"], ["group", "lag"], ["group", "reset"],
            ["group", "delete"], ["group", "export"], ["group", "import"], ["cluster"], ["cluster", "status"], ["completion"]]


def read_terminal(file):
    """All that was written to a terminal whose other end is closed: Linux ends it with an error."""
    text = b""
    try:
        while block := file.read(65536):
            text += block
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    return text


class Usage(WithBroker):
    def test_every_command_has_help_with_an_example(self):
        for command in COMMANDS + [[]]:
            result = self.ok(*command, "--help")
            self.assertRegex(result.out.decode(), r"Examples?:\s+.*millrace")
            self.assertLessEqual(max(map(len, result.out.decode().splitlines())), 120, command)

    def test_version(self):
        self.assertRegex(self.ok("--version").out.decode(), r"^millrace \d+\.\d+\.\d+\n$")

    def test_wrong_usage_is_2_and_says_what_is_right(self):
        for arguments, said in [
            ([], "a command is missing: one of topic, produce"),
            (["topic"], "one of create, list"),
            (["topik"], "did you mean topic?"),
            (["topic", "create"], "NAME is required"),
            (["topic", "create", "t", "--partitons", "3"], "did you mean --partitions?"),
            (["topic", "create", "t", "--partitions", "0"], "--partitions: '0' is no whole number"),
            (["topic", "create", "t", "--partitions", "x"], "'x' is no whole number"),
            (["topic", "create", "t", "--config", "retention.ms"], "write NAME=VALUE"),
            (["topic", "create", "t", "u"], "one argument too many: u"),
            (["topic", "alter", "t"], "nothing to change"),
            (["topic", "trim", "t", "--partition", "0"], "--before is required"),
            (["produce", "t", "--key", "k", "--key-field", "f"], "exclude each other"),
            (["produce", "t", "--keep-partition"], "need --input json"),
            (["produce", "t", "--linger", "5"], "write 5s or 5ms"),
            (["produce", "t", "--acks", "some"], "none|leader|quorum"),
            (["produce", "t", "--header", "x"], "write NAME=VALUE"),
            (["consume", "t", "--from", "noon"], "--from: 'noon' is no position"),
            (["consume", "t", "--from", "@2013-07-04"], "names no time zone"),
            (["consume", "t", "--format", "%q"], "'%q' is no field"),
            (["consume", "t", "--follow", "--until", "5"], "give one of them"),
            (["consume", "t", "--partition", "-1"], "--partition"),
            (["bench", "produce", "--topic", "t"], "either --records N or --seconds S"),
            (["bench", "end-to-end", "--topic", "t", "--records", "5", "--record-size", "8"], "at least 16"),
            (["offsets", "t", "--timeout", "soon"], "is no duration"),
            (["completion", "fish"], "bash|zsh"),
            (["topic", "create", "t", "--config"], "--config needs a value: --config NAME=VALUE"),
            (["topic", "create", "t", "-c", "flush=async", "-c", "flush=commit"], "flush is given twice"),
            (["topic", "create", ""], "the name of the topic is empty"),
            (["consume", "t", "--from"], "--from needs a value: --from POSITION"),
            (["consume", "t", "--partition", "x"], "--partition: 'x' is no whole number from 0"),
            (["consume", "t", "-p", "0", "-p", "0"], "the same partition twice"),
            (["consume", "t", "--quiet=maybe"], "--quiet is on or off"),
            (["consume", "t", "--timeout", "0"], "at least 1ms"),
            (["offsets", "t", "--at", "2013-07-04"], "names no time zone"),
            # What the SDK refuses is told of the flag that gave it.
            (["produce", "t", "--batch-bytes", "5"], "--batch-bytes is 5, must be 1 KiB to 64 MiB"),
            (["topic", "list", "--address", "here:99999"], "--address: bad address 'here:99999'"),
            (["topic", "list", "--address", ","], "--address: no address given"),
            (["topic", "list", "--tls-ca", "/no/such/file"], "--tls-ca: cannot read '/no/such/file'"),
            (["topic", "list", "--tls-cert", "/no/such/file"], "--tls-cert and --tls-key go together"),
        ]:
            result = self.fails(2, *arguments)
            self.assertIn(said, result.err, arguments)
            self.assertIn("See: millrace", result.err)
            self.assertEqual(result.out, b"")
            as_json = self.fails(2, "--output", "json", *arguments)
            self.assertEqual(as_json.error["error"], "USAGE", arguments)

    def test_what_this_release_does_not_have_it_says(self):
        for command, what in [
            (["verify"], "verify"),
            (["cluster", "brokers"], "cluster brokers"),
            (["cluster", "drain", "1"], "draining, removing and replacing brokers"),
            (["cluster", "remove", "1"], "draining, removing and replacing brokers"),
            (["cluster", "replace", "1"], "draining, removing and replacing brokers"),
            (["cluster", "reassign"], "moving replicas and leaders"),
            (["cluster", "balance"], "moving replicas and leaders"),
            (["cluster", "recover"], "recovering without a majority"),
            (["cluster", "finalize"], "feature levels to finalize"),
            (["cluster", "config", "list"], "settings of a running cluster"),
        ]:
            self.assertRegex(self.fails(2, *command).err, f"{what}.* not in this release[;,] .*millrace", command)

    def test_of_a_flag_that_is_given_twice_the_last_counts(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"a\nb\nc\n")
        self.assertEqual(self.consume(topic, "--count", "1", "-n", "2"), b"a\nb\n")

    def test_topics_may_be_called_like_commands(self):
        for name in ("bench", "list", "create"):
            self.ok("topic", "create", name)
            self.ok("produce", name, stdin=b"x\n")
            self.assertEqual(self.consume(name), b"x\n")

    def test_flags_may_stand_before_the_command(self):
        self.assertIsInstance(self.ok("--output", "json", "topic", "list").json, list)

    def test_the_environment_gives_flags_and_the_flag_wins(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"a\nb\nc\n")
        self.assertEqual(self.ok("consume", topic, env={"MILLRACE_COUNT": "2"}).out, b"a\nb\n")
        self.assertEqual(self.ok("consume", topic, "--count", "1", env={"MILLRACE_COUNT": "2"}).out, b"a\n")
        self.assertEqual(self.ok("consume", topic, env={"MILLRACE_OUTPUT": "json", "MILLRACE_FROM": "-1"}).json["value"], "c")
        self.assertIn("MILLRACE_COUNT: 'many' is no whole number", self.fails(2, "consume", topic, env={"MILLRACE_COUNT": "many"}).err)
        self.assertIn("--count: 'many' is no whole number", self.fails(2, "consume", topic, "--count=many", env={"MILLRACE_COUNT": "2"}).err)

    def test_each_name_of_a_flag_has_its_variable(self):
        for variable in ("MILLRACE_BROKERS", "MILLRACE_BOOTSTRAP_SERVER"):
            alone = subprocess.run([MILLRACE, "cluster", "status"], env=clean_environment(**{variable: self.broker.address}), capture_output=True)
            self.assertEqual((alone.returncode, alone.stderr), (0, b""), variable)

    def test_unknown_variables_are_reported_once_and_ignored(self):
        result = self.ok("topic", "list", env={"MILLRACE_SERVICE_HOST": "x", "MILLRACE_PORT": "y", "MILLRACE_DATA_DIR": "known to millraced",
                                               "MILLRACE_CONFIG": "too"})
        self.assertEqual(result.err, "millrace: environment variables that belong to no flag are ignored: MILLRACE_PORT, MILLRACE_SERVICE_HOST\n")
        self.assertEqual(self.ok("topic", "list", "--quiet", env={"MILLRACE_SERVICE_HOST": "x"}).err, "")

    def completed(self, line):
        """What the completion for bash offers behind `line`, which bash cuts into words at = and : as well."""
        words = [word for word in re.split(r"([=:])|\s+", line) if word]
        if line[-1].isspace():
            words.append("")
        script = self.ok("completion", "bash").out.decode()
        code = (f"{script}\nCOMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}; COMP_LINE={shlex.quote(line)}; "
                "COMP_POINT=${#COMP_LINE}; _millrace; printf '%s\\n' \"${COMPREPLY[@]}\"")
        return subprocess.run(["bash", "-c", code], check=True, capture_output=True, text=True).stdout.split()

    def test_completion_offers_commands_flags_and_words(self):
        for line, offered in [
            ("millrace top", ["topic"]),
            ("millrace topic cre", ["create"]),
            ("millrace --quiet topic create t --part", ["--partitions"]),
            ("millrace --address 10.0.0.1:9470 topic create -p 4 --part", ["--partitions"]),
            ("millrace --address=10.0.0.1:9470 topic cre", ["create"]),
            ("millrace topic trim t --part", ["--partition"]),
            ("millrace consume t --fo", ["--follow", "--format"]),
            ("millrace produce t --acks ", ["none", "leader", "quorum"]),
            ("millrace produce t -z z", ["zstd"]),
            ("millrace consume t --output=j", ["json"]),
            ("millrace cluster status --wait ", ["healthy"]),
            ("millrace completion z", ["zsh"]),
            ("millrace produce --file ", []),
        ]:
            self.assertEqual(self.completed(line), offered, line)
        self.assertIn("produce", self.completed("millrace "))
        self.assertIn("#compdef millrace", self.ok("completion", "zsh").out.decode())

    def test_completion_offers_what_help_shows(self):
        common = set(re.findall(r"--[a-z-]+", self.ok("--help").out.decode().split("Commands:")[0]))
        for command in COMMANDS:
            text = self.ok(*command, "--help").out.decode()
            own = {flag for line in re.findall(r"^  (-\S+)", text, re.MULTILINE) for flag in line.split(",") if flag.startswith("--")}
            self.assertEqual(set(self.completed(f"millrace {' '.join(command)} --")), own | common, command)


class Errors(WithBroker):
    def test_nobody_there_is_3(self):
        for arguments in (["topic", "list"], ["topic", "create", "t"], ["offsets", "t"], ["produce", "t"], ["consume", "t"],
                          ["cluster", "status"], ["bench", "produce", "--topic", "t", "--records", "1"]):
            result = self.fails(3, *arguments, "--address", NOBODY, "--timeout", "1s", "--output", "json")
            self.assertEqual(result.error["error"], "NETWORK_EXCEPTION", arguments)
            self.assertTrue(result.error["retriable"])
            self.assertFalse(result.error["may_have_happened"])
            self.assertIn(NOBODY, result.error["message"])
            self.assertIn("Start a broker with: millraced", result.error["message"])
            self.assertEqual(list(result.error), ["error", "message", "retriable", "may_have_happened", "topic", "partition", "address"])

    def test_one_address_of_several_that_answers_is_enough(self):
        self.ok("topic", "list", "--address", f"{NOBODY},{self.broker.address}")

    def test_a_missing_topic_names_the_command_that_creates_it(self):
        for arguments in (["topic", "describe", "nowhere"], ["offsets", "nowhere"], ["produce", "nowhere"], ["consume", "nowhere"],
                          ["topic", "alter", "nowhere", "--partitions", "3"], ["bench", "consume", "--topic", "nowhere"]):
            result = self.fails(1, *arguments, stdin=b"x\n")
            self.assertEqual(result.err.count("millrace topic create nowhere"), 1, result.err)
        result = self.fails(1, "offsets", "nowhere", "--output", "json")
        self.assertEqual(result.error["error"], "UNKNOWN_TOPIC_OR_PARTITION")
        self.assertEqual(result.error["topic"], "nowhere")
        self.assertIn("millrace topic list", self.fails(1, "topic", "delete", "nowhere").err)

    def test_bad_names_and_settings_are_refused_and_nothing_is_created(self):
        for name in ("..", "a b", "a/b", "x" * 250):
            self.assertEqual(self.fails(1, "topic", "create", name, "--output", "json").error["error"], "INVALID_TOPIC_EXCEPTION", name)
        result = self.fails(1, "topic", "create", "refused", "--config", "retention.msx=1", "--output", "json")
        self.assertEqual(result.error["error"], "INVALID_CONFIG")
        self.assertIn("retention.ms", result.error["message"])
        self.assertEqual(self.fails(1, "topic", "create", "refused", "-r", "3", "--output", "json").error["error"], "INVALID_REPLICATION_FACTOR")
        self.assertNotIn("refused", [topic["name"] for topic in self.millrace.json("topic", "list")])

    def test_a_missing_partition_is_named(self):
        topic = self.topic("-p", "2")
        for arguments in (["consume", topic, "-p", "7"], ["produce", topic, "-p", "7"], ["topic", "trim", topic, "-p", "7", "--before", "0"]):
            result = self.fails(1, *arguments, "--output", "json", stdin=b"x\n")
            self.assertEqual((result.error["error"], result.error["partition"]), ("UNKNOWN_TOPIC_OR_PARTITION", 7), arguments)


class Topics(WithBroker):
    def test_create_list_describe_alter_delete(self):
        created = self.millrace.json("topic", "create", "orders", "-p", "4", "-c", "retention.ms=3600000")
        self.assertEqual(created, {"name": "orders", "partitions": 4, "replication_factor": 1, "created": True})
        self.assertIn({"name": "orders", "partitions": 4, "replication_factor": 1}, self.millrace.json("topic", "list"))

        again = self.fails(1, "topic", "create", "orders", "--output", "json")
        self.assertEqual(again.error["error"], "TOPIC_ALREADY_EXISTS")
        self.assertFalse(self.millrace.json("topic", "create", "orders", "--if-not-exists")["created"])

        described = self.millrace.json("topic", "describe", "orders")
        self.assertEqual([p["partition"] for p in described["partitions"]], [0, 1, 2, 3])
        self.assertLessEqual({"partition", "leader", "replicas", "in_sync", "leader_epoch", "log_start_offset", "high_watermark",
                              "log_end_offset", "bytes", "replica_lag"}, set(described["partitions"][0]))
        self.assertEqual(described["config"]["retention.ms"], "3600000")

        altered = self.ok("topic", "alter", "orders", "--unset", "retention.ms", "-c", "flush=async", "--partitions", "6")
        self.assertIn("most keys move", altered.err)
        described = self.millrace.json("topic", "describe", "orders")
        self.assertEqual(len(described["partitions"]), 6)
        self.assertEqual(described["config"]["retention.ms"], str(7 * 86400 * 1000))
        self.assertEqual(described["config"]["flush"], "async")
        both = self.fails(2, "topic", "alter", "orders", "--unset", "flush", "-c", "flush=commit")
        self.assertIn("flush is both set and unset", both.err)
        self.assertEqual(self.millrace.json("topic", "describe", "orders")["config"]["flush"], "async")
        fewer = self.fails(1, "topic", "alter", "orders", "--partitions", "2", "--output", "json")
        self.assertEqual(fewer.error["error"], "INVALID_PARTITIONS")

        self.ok("topic", "delete", "orders")
        self.assertNotIn("orders", [topic["name"] for topic in self.millrace.json("topic", "list")])

    def test_text_lines_up(self):
        topic = self.topic("-p", "12")
        self.ok("produce", topic, "-p", "3", stdin=b"x\n" * 1000)
        table = self.ok("topic", "describe", topic).out.decode().split("\n\n")[1].splitlines()
        end = table[0].index("HIGH-WATERMARK") + len("HIGH-WATERMARK")
        self.assertEqual([row[:end].split()[-1] for row in table[1:]], ["0"] * 3 + ["1000"] + ["0"] * 8)
        self.assertIn(topic, self.ok("topic", "list").out.decode())

    def test_trim(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"a\nb\nc\nd\n")
        self.assertEqual(self.millrace.json("topic", "trim", topic, "-p", "0", "--before", "2"),
                         {"name": topic, "partition": 0, "log_start_offset": 2})
        self.assertEqual(self.consume(topic), b"c\nd\n")
        as_json = self.fails(4, "consume", topic, "--from", "0", "--output", "json")
        self.assertEqual((as_json.error["error"], as_json.error["partition"], len(as_json.lines)), ("OFFSET_OUT_OF_RANGE", 0, 2))
        beyond = self.fails(1, "topic", "trim", topic, "-p", "0", "--before", "9", "--output", "json")
        self.assertEqual(beyond.error["error"], "OFFSET_OUT_OF_RANGE")

        # A position below the start: what is missing is said, and the result is partial.
        below = self.fails(4, "consume", topic, "--from", "0", "-p", "0")
        self.assertEqual(below.out, b"c\nd\n")
        self.assertIn("offsets 0 to 1 are gone (retention or trim)", below.err)

        self.ok("topic", "trim", topic, "-p", "0", "--before", "end")
        self.assertEqual(self.millrace.json("offsets", topic), [{"partition": 0, "earliest": 4, "latest": 4}])


class Records(WithBroker):
    def test_lines_come_out_as_they_went_in(self):
        topic = self.topic("-c", "max.message.bytes=16777216")
        lines = [b"", b"a", b"", b"carriage return\r", b"\0\xff\xfe", b"x" * 5_000_000, b"\xc3\xa9", b"last"]
        for tail in (b"\n", b""):  # the last line needs no newline
            reply = self.millrace.json("produce", topic, stdin=b"\n".join(lines) + tail)
            self.assertEqual((reply["acked"], reply["failed"], reply["first_unacked_line"]), (len(lines), 0, None))
        self.assertEqual(reply["partitions"], [{"partition": 0, "first": 8, "last": 15}])
        self.assertEqual(self.consume(topic), (b"\n".join(lines) + b"\n") * 2)
        self.ok("produce", topic, stdin=b"")
        self.assertEqual(self.millrace.json("offsets", topic)[0]["latest"], 16)

    def test_files_plain_and_packed(self):
        topic = self.topic()
        with tempfile.TemporaryDirectory() as directory:
            for name, opener in (("a.txt", open), ("b.gz", gzip.open)):
                path = pathlib.Path(directory) / name
                with opener(path, "wb") as file:
                    file.write(name.encode() + b"\nline\n")
                self.ok("produce", topic, "--file", path)
            cut = pathlib.Path(directory) / "cut.gz"
            cut.write_bytes(gzip.compress(b"sound\n" + random.randbytes(100_000), mtime=0)[:-9])
            result = self.fails(4, "produce", topic, "--file", cut, "--output", "json")
            self.assertIn("cut short", result.error["message"])
            self.assertEqual(result.json["first_unacked_line"], result.json["acked"] + 1)
        self.assertTrue(self.consume(topic).startswith(b"a.txt\nline\nb.gz\nline\nsound\n"))
        self.assertIn("No such file", self.fails(1, "produce", topic, "--file", "/no/such/file").err)

    def test_keys_and_headers(self):
        topic = self.topic("-p", "4")
        self.ok("produce", topic, "-K", ":", "-H", "a=1", "-H", "a=", stdin=b"k1:v1\nk2:v:2\nnone\n:empty\n")
        by_value = {record["value"]: record for record in self.records(topic)}
        self.assertEqual([by_value[value]["key"] for value in ("v1", "v:2", "none", "empty")], ["k1", "k2", None, ""])
        self.assertEqual(by_value["v1"]["headers"], [{"key": "a", "value": "1"}, {"key": "a", "value": ""}])
        self.ok("produce", topic, "-K", "\\t", stdin=b"tab\tvalue\n")
        self.ok("produce", topic, "-k", "same", "-p", "2", stdin=b"1\n2\n")
        two = [record for record in self.records(topic, "-p", "2") if record["key"] == "same"]
        self.assertEqual([record["value"] for record in two], ["1", "2"])
        formatted = self.consume(topic, "-p", "2", "--from", "-2", "-f", r"%t|%p|%o|%k|%v|%h|%K|%V|%%\x41\n").splitlines()
        self.assertEqual(formatted[-1].split(b"|")[:2] + formatted[-1].split(b"|")[3:], [topic.encode(), b"2", b"same", b"2", b"", b"4", b"1", b"%A"])

    def test_a_real_file_by_key_and_time(self):
        topic = self.topic("-p", "4")
        with gzip.open(SAMPLE) as file:
            lines = file.read().splitlines()
        reply = self.millrace.json("produce", topic, "--file", SAMPLE, "--key-field", "tailnum", "--timestamp-field", "time", "-z", "lz4")
        self.assertEqual(reply["acked"], len(lines))
        records = self.records(topic)
        self.assertCountEqual([record["value"].encode() for record in records], lines)
        places = {}
        for record in records:
            event = json.loads(record["value"])
            self.assertEqual(record["key"], event["tailnum"])
            if record["key"] is not None:
                self.assertEqual(places.setdefault(record["key"], record["partition"]), record["partition"])
        times = sorted({json.loads(line)["time"] for line in lines})
        begin, end = times[len(times) // 3], times[len(times) // 2]
        replayed = self.consume(topic, "--from", f"@{begin}").splitlines()
        self.assertEqual(sorted(replayed), sorted(line for line in lines if json.loads(line)["time"] >= begin))
        between = self.consume(topic, "--from", f"@{begin}", "--until", f"@{end}").splitlines()
        self.assertEqual(sorted(between), sorted(line for line in lines if begin <= json.loads(line)["time"] < end))
        at = self.millrace.json("offsets", topic, "--at", begin)
        self.assertEqual(sum(p["latest"] - p["offset"] for p in at), len(replayed))

    def test_a_line_that_is_wrong_stops_there_and_is_named(self):
        topic = self.topic()
        result = self.fails(4, "produce", topic, "--key-field", "k", "--output", "json", stdin=b'{"k":1}\n{"k":2}\nnonsense\n{"k":4}\n')
        self.assertEqual(result.error["message"][:6], "line 3")
        self.assertEqual((result.json["acked"], result.json["failed"], result.json["first_unacked_line"]), (2, 1, 3))
        self.assertEqual(self.consume(topic), b'{"k":1}\n{"k":2}\n')
        nothing = self.fails(1, "produce", topic, "--timestamp-field", "t", "--output", "json", stdin=b'{"k":1}\n')
        self.assertIn("no field 't'", nothing.error["message"])
        large = self.fails(4, "produce", topic, "--output", "json", stdin=b"small\n" + b"x" * 3_000_000 + b"\nafter\n")
        self.assertEqual(large.error["error"], "MESSAGE_TOO_LARGE")
        self.assertEqual((large.json["acked"], large.json["first_unacked_line"]), (1, 2))
        self.assertIn("all keys are null", self.ok("produce", topic, "--key-field", "typo", stdin=b'{"k":1}\n').err)

    def test_create_makes_a_missing_topic(self):
        result = self.ok("produce", "made-on-the-way", "--create", stdin=b"x\n")
        self.assertIn("created made-on-the-way", result.err)
        self.ok("produce", "made-on-the-way", "--create", stdin=b"y\n")
        self.assertEqual(self.consume("made-on-the-way"), b"x\ny\n")

    def test_length_prefixed_is_its_own_inverse(self):
        topic, copy = self.topic(), self.topic()
        values = [b"", b"\n", b"\0\xff", random.Random(7).randbytes(300_000)]
        framed = b"".join(len(value).to_bytes(4, "big") + value for value in values) + b"\xff\xff\xff\xff"
        self.ok("produce", topic, "--length-prefixed", stdin=framed)
        self.assertEqual(self.consume(topic, "--length-prefixed"), framed)
        self.assertIsNone(self.records(topic)[-1]["value"])
        self.ok("produce", copy, "--length-prefixed", stdin=self.consume(topic, "--length-prefixed"))
        self.assertEqual(self.consume(copy, "--length-prefixed"), framed)
        result = self.fails(4, "produce", copy, "--length-prefixed", stdin=framed + b"\0\0\1")
        self.assertIn("record 6 ends within its length", result.err)
        self.assertIn("record 6 is the first without an ack", result.err)
        self.assertIn("has the length -2", self.fails(1, "produce", copy, "--length-prefixed", stdin=b"\xff\xff\xff\xfe").err)

    def test_json_copies_records_exactly(self):
        seed = random.randrange(2**32)
        rng = random.Random(seed)
        topic, copy = self.topic("-p", "3"), self.topic("-p", "3")

        def some_bytes():
            return rng.choice([None, b"", b"text", "h\u00e9\u2028\U0001f600".encode(), b"\xff\0", rng.randbytes(rng.randrange(40))])

        def member(name, value):
            if value is None:
                return {name: None}
            try:
                return {name: value.decode()}
            except UnicodeDecodeError:
                return {name: base64.b64encode(value).decode(), f"{name}_encoding": "base64"}

        def headers():
            return [{**member("key", rng.choice([b"a", b"", b"b"])), **member("value", some_bytes())} for _ in range(rng.randrange(3))]

        made = [{"partition": rng.randrange(3), "timestamp": rng.randrange(1_700_000_000_000), **member("key", some_bytes()),
                 **member("value", some_bytes()), "headers": headers()} for _ in range(2000)]
        lines = "\n".join(json.dumps(record, ensure_ascii=rng.random() < 0.5) for record in made)
        self.ok("produce", topic, "--input", "json", "--keep-partition", "--keep-timestamp", stdin=lines.encode())

        def essence(records):
            return [[{name: record[name] for name in record if name not in ("topic", "offset", "append_time", "leader_epoch")}
                     for record in records if record["partition"] == p] for p in range(3)]

        first = self.ok("consume", topic, "--output", "json")
        self.assertEqual(essence([json.loads(line) for line in first.lines]), essence(made), f"seed {seed}")
        self.ok("produce", copy, "--input", "json", "--keep-partition", "--keep-timestamp", "-z", "zstd", stdin=first.out)
        self.assertEqual(essence(self.records(copy)), essence(made), f"seed {seed}")

    def test_acks_none_and_leader(self):
        topic = self.topic()
        self.ok("produce", topic, "--acks", "leader", stdin=b"a\n")
        self.assertEqual(self.millrace.json("produce", topic, "--acks", "none", stdin=b"b\n")["acked"], 1)
        self.assertEqual(self.ok("consume", topic, "--follow", "-n", "2").out, b"a\nb\n")


class Inspect(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(MILLRACED)
        self.data = self.broker.directory / "data"
        self.millrace = Millrace(MILLRACE, self.broker.address)
        self.assertEqual(self.millrace("topic", "create", "orders", "--partitions", "2").code, 0)
        self.assertEqual(self.millrace("produce", "orders", "-p", "1", stdin=(b"v" * 5000 + b"\n") * 3).code, 0)

    def tearDown(self):
        shutil.rmtree(self.broker.directory)

    def stop(self):
        self.broker.process.terminate()
        self.assertEqual(self.broker.process.wait(), 0)
        self.broker.process.stdout.close()

    def test_a_running_broker_is_left_alone_and_a_stopped_one_checked(self):
        running = self.millrace("inspect", self.data)
        self.assertEqual((running.code, running.out), (1, b""))
        self.assertIn(f"in use by process {self.broker.process.pid}", running.err)
        self.stop()
        whole = self.millrace("inspect", self.data)
        self.assertEqual(whole.code, 0, whole.err)
        self.assertRegex(whole.out.decode(), r"orders-1 +3 +0 +3 +1 ")
        self.assertIn(b"all checksums are right", whole.out)
        report = self.millrace("inspect", self.data, "--batches", "--output", "json").json
        self.assertTrue(report["sound"])
        empty, filled = next(topic for topic in report["topics"] if topic["name"] == "orders")["partitions"]
        self.assertEqual((empty["log_end_offset"], filled["log_end_offset"]), (0, 3))
        [batch] = filled["segments"][0]["list"]
        self.assertEqual(batch["records"], 3)
        self.assertRegex(batch["digest"], "^[0-9a-f]{8}$")

    def test_damage_is_told_with_topic_partition_and_offsets(self):
        self.stop()
        [payloads] = self.data.glob("*.payloads")
        content = bytearray(payloads.read_bytes())
        content[content.rindex(b"vvvv")] ^= 1
        payloads.write_bytes(content)
        damaged = self.millrace("inspect", self.data)
        self.assertEqual(damaged.code, 1)
        self.assertRegex(damaged.out.decode(), r"damaged: orders-1 offsets \d to 2: .*checksum")  # of the last batch
        self.assertFalse(self.millrace("inspect", self.data, "--output", "json").json["sound"])

    def test_usage(self):
        self.stop()
        self.assertEqual(self.millrace("inspect").code, 2)
        nothing = self.millrace("inspect", self.data / "nowhere")
        self.assertEqual(nothing.code, 1)
        self.assertIn("No such file", nothing.err)


class Positions(WithBroker):
    def setUp(self):
        self.name = self.topic()
        self.ok("produce", self.name, stdin=b"".join(b"%d\n" % i for i in range(10)))

    def test_from_until_and_count(self):
        for flags, expected in [
            ([], range(10)),
            (["--from", "beginning"], range(10)),
            (["--from", "7"], range(7, 10)),
            (["--from", "10"], []),
            (["--from", "-3"], range(7, 10)),
            (["--from", "-1000"], range(10)),
            (["--from", "-1h"], range(10)),
            (["--from", "@2100-01-01T00:00:00Z"], []),
            (["--from", "2013-07-04T00:00:00Z"], range(10)),
            (["--from", "@0", "--until", "@9999999999999"], range(10)),
            (["--from", "5", "--until", "2"], []),
            (["--from", "end", "--no-follow"], []),
            (["--from", "2", "--until", "5"], range(2, 5)),
            (["--until", "-8"], range(2)),
            (["--until", "beginning"], []),
            (["--from", "4", "--count", "3"], range(4, 7)),
            (["-o", "4", "-n", "3"], range(4, 7)),
            (["--count", "0"], []),
            (["-p", "0", "--from", "9"], [9]),
        ]:
            self.assertEqual(self.consume(self.name, *flags), b"".join(b"%d\n" % i for i in expected), flags)

    def test_without_follow_it_says_where_it_stopped(self):
        self.assertIn("10 records; stopped at the high watermark seen at the start", self.ok("consume", self.name).err)
        self.assertEqual(self.ok("consume", self.name, "--quiet").err, "")
        self.assertEqual(self.ok("consume", self.name, "-n", "1").err, "")

    def test_above_the_end(self):
        for flags in (["--from", "11"], ["--from", "11", "-p", "0"], ["--from", "11", "--follow"], ["--from", "11", "--until", "20"]):
            result = self.fails(1, "consume", self.name, *flags, "--output", "json")
            self.assertEqual((result.out, result.error["error"], result.error["topic"], result.error["partition"]),
                             (b"", "OFFSET_OUT_OF_RANGE", self.name, 0), flags)
            self.assertIn(f"offset 11 is above the end of the log, 10. See what there is with: millrace offsets {self.name}", result.error["message"])

    def test_partitions_that_do_not_reach_an_offset_are_told_and_the_others_read(self):
        topic = self.topic("-p", "2")
        self.ok("produce", topic, "-p", "1", stdin=b"a\nb\nc\n")
        result = self.fails(4, "consume", topic, "--from", "2", "--output", "json")
        self.assertEqual([json.loads(line)["value"] for line in result.lines], ["c"])
        self.assertEqual((result.error["error"], result.error["partition"]), ("OFFSET_OUT_OF_RANGE", 0))

    def test_until_beyond_the_end_does_not_wait(self):
        result = self.ok("consume", self.name, "--from", "8", "--until", "20")
        self.assertEqual(result.out, b"8\n9\n")
        self.assertIn("stopped at the high watermark", result.err)
        self.assertEqual(self.ok("consume", self.name, "--from", "8", "--until", "9").err, "")

    def test_offsets(self):
        self.assertEqual(self.millrace.json("offsets", self.name), [{"partition": 0, "earliest": 0, "latest": 10}])
        self.assertEqual(self.millrace.json("offsets", self.name, "--at", "-1h"), [{"partition": 0, "earliest": 0, "latest": 10, "offset": 0}])
        self.assertEqual(self.ok("offsets", self.name).out.decode().split(), ["PARTITION", "EARLIEST", "LATEST", "0", "0", "10"])


class Processes(WithBroker):
    def test_follow_shows_records_as_they_come_and_ctrl_c_is_130(self):
        topic = self.topic()
        follower = self.millrace.start("consume", topic, "--follow")
        for i in range(3):
            self.ok("produce", topic, stdin=b"%d\n" % i)
            self.assertEqual(follower.stdout.readline(), b"%d\n" % i)
        self.assertEqual(interrupt(follower).code, 130)

    def test_from_end_follows_and_count_ends_it(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"old\n")
        follower = self.millrace.start("consume", topic, "--from", "end", "-n", "1")
        while follower.poll() is None:  # until the follower has found the end it misses what is written
            self.ok("produce", topic, stdin=b"new\n")
        out, _ = follower.communicate(timeout=DEADLINE_S)
        self.assertEqual((follower.returncode, out), (0, b"new\n"))

    def test_produce_sends_lines_as_they_come_and_acks_them_on_ctrl_c(self):
        topic = self.topic()
        follower = self.millrace.start("consume", topic, "--follow")
        producer = self.millrace.start("produce", topic, "--output", "json")
        for i in range(3):
            producer.stdin.write(b"%d\n" % i)
            producer.stdin.flush()
            self.assertEqual(follower.stdout.readline(), b"%d\n" % i)
        stopped = interrupt(producer)
        self.assertEqual(stopped.code, 130)
        self.assertEqual((stopped.json["acked"], stopped.json["first_unacked_line"]), (3, 4))
        interrupt(follower)

    def test_ctrl_c_ends_a_command_that_waits_for_an_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for arguments in (["topic", "list"], ["consume", "t"], ["produce", "t"], ["cluster", "status", "--wait", "healthy"]):
                waiting = self.millrace.start(*arguments, "--address", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "1d")
                connection, _ = silent.accept()
                with connection:
                    self.assertEqual(interrupt(waiting).code, 130, arguments)

    def test_a_broker_that_goes_away_ends_reading_up_to_the_end(self):
        broker = Broker(MILLRACED)
        millrace = Millrace(MILLRACE, broker.address)
        millrace("produce", "t", "--create", stdin=b"line of some length\n" * 2_000_000)
        reader = millrace.start("consume", "t", "--timeout", "200ms", "--output", "json")
        self.assertEqual(json.loads(reader.stdout.readline())["offset"], 0)
        broker.kill()
        out, err = reader.communicate(timeout=DEADLINE_S)
        self.assertEqual(reader.returncode, 4)
        self.assertLess(out.count(b"\n"), 2_000_000 - 1)
        self.assertEqual(Result(4, out, err).error["error"], "NETWORK_EXCEPTION")

    def test_whoever_types_is_told_how_to_end(self):
        here, terminal = pty.openpty()
        topic = self.topic()
        typed = self.millrace.start("produce", topic, stdin=terminal)
        os.close(terminal)
        os.write(here, b"typed\n\x04")
        _, err = typed.communicate(timeout=DEADLINE_S)
        os.close(here)
        self.assertEqual(typed.returncode, 0, err)
        self.assertIn(b"one record a line; Ctrl-D ends it", err)
        self.assertEqual(self.consume(topic), b"typed\n")

    def test_progress_shows_on_a_terminal_only(self):
        topic = self.topic()
        for flags, shown in (([], True), (["--quiet"], False)):
            here, terminal = pty.openpty()
            with tempfile.TemporaryFile() as lines:
                lines.write(b"x\n" * 5000)
                lines.seek(0)
                code = subprocess.run([MILLRACE, "produce", topic, "--address", self.broker.address, *flags], stdin=lines, stderr=terminal).returncode
            os.close(terminal)
            with open(here, "rb", buffering=0) as told:
                text = read_terminal(told)
            self.assertEqual((code, b"records acked," in text and b"\r\033[K" in text), (0, shown), text)
        self.assertNotIn("\033", self.ok("produce", topic, stdin=b"x\n" * 5000).err)

    def test_a_closed_pipe_is_no_error(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"line of some length\n" * 200_000)
        reader = self.millrace.start("consume", topic)
        self.assertEqual(reader.stdout.readline(), b"line of some length\n")
        reader.stdout.close()
        self.assertEqual(reader.wait(DEADLINE_S), 0, reader.stderr.read())
        reader.stderr.close()
        reader.stdin.close()

    def test_a_closed_pipe_ends_following_although_nothing_comes(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"x\n")
        follower = self.millrace.start("consume", topic, "--follow")
        self.assertEqual(follower.stdout.readline(), b"x\n")
        follower.stdout.close()
        self.assertEqual(follower.wait(DEADLINE_S), 0, follower.stderr.read())
        follower.stderr.close()
        follower.stdin.close()

    def test_a_full_disk_is_an_error(self):
        topic = self.topic()
        self.ok("produce", topic, stdin=b"x\n")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([MILLRACE, "consume", topic, "--address", self.broker.address], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)

    def test_everything_survives_a_pipe_of_programs(self):
        topic, copy = self.topic("-p", "2"), self.topic("-p", "2")
        self.ok("produce", topic, stdin=b"".join(b"%d\n" % i for i in range(50_000)))
        source = self.millrace.start("consume", topic, "--output", "json", stdin=subprocess.DEVNULL)
        sink = self.millrace.start("produce", copy, "--input", "json", "--keep-partition", stdin=source.stdout)
        source.stdout.close()
        sink.communicate(timeout=DEADLINE_S)
        source.stderr.close()
        self.assertEqual((source.wait(DEADLINE_S), sink.returncode), (0, 0))
        for partition in ("0", "1"):
            self.assertEqual(self.consume(copy, "-p", partition), self.consume(topic, "-p", partition))


class Bench(WithBroker):
    SHAPE = {"records", "bytes", "seconds", "records_per_second", "megabytes_per_second", "errors", "client_cpu_seconds", "latency_ms"}

    def bench(self, *arguments):
        result = self.ok("bench", *arguments)
        document = result.json
        self.assertEqual(set(document), self.SHAPE)
        self.assertEqual(set(document["latency_ms"]), {"p50", "p90", "p99", "p999", "max"})
        self.assertEqual(document["errors"], 0)
        return document

    def test_produce_then_consume(self):
        produced = self.bench("produce", "--topic", "load", "--records", "20000", "--record-size", "100", "--partitions", "3", "--keys", "50",
                              "--producers", "2", "--config", "flush=async")
        self.assertEqual((produced["records"], produced["bytes"]), (20000, 20000 * 112))
        described = self.millrace.json("topic", "describe", "load")
        self.assertEqual((len(described["partitions"]), described["config"]["flush"]), (3, "async"))
        consumed = self.bench("consume", "--topic", "load", "--consumers", "2")
        self.assertEqual((consumed["records"], consumed["bytes"]), (20000, 20000 * 112))
        self.assertEqual(self.bench("consume", "--topic", "load", "--records", "500")["records"], 500)
        paced = self.bench("consume", "--topic", "load", "--rate", "40000")
        self.assertEqual(paced["records"], 20000)
        self.assertGreaterEqual(paced["seconds"], 0.47)  # but for the last poll, of 1,024 at most, each waited until it was due

    def test_an_open_loop_sends_at_its_rate(self):
        produced = self.bench("produce", "--topic", "paced", "--records", "600", "--rate", "2000", "--warmup", "0.1", "--acks", "leader")
        self.assertEqual(produced["records"], 600)
        self.assertGreaterEqual(produced["seconds"], 0.29)  # 600 records cannot be due any earlier

    def test_end_to_end(self):
        for flags in ([], ["--rate", "1000"]):
            measured = self.bench("end-to-end", "--topic", "echo", "--records", "200", "--record-size", "64", "--partitions", "2", *flags)
            self.assertEqual((measured["records"], measured["bytes"]), (200, 200 * 64))
            self.assertGreater(measured["latency_ms"]["p50"], 0)

    def test_too_few_records_to_consume_is_partial(self):
        self.ok("topic", "create", "few")
        self.ok("produce", "few", stdin=b"a\nb\n")
        result = self.fails(4, "bench", "consume", "--topic", "few", "--records", "5", "--timeout", "1s")
        self.assertEqual(result.json["records"], 2)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
