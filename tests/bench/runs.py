"""How the benchmarks of brokers run: cases of both sides in turn, again and again, then medians and ranges."""
import argparse
import json
import statistics

import machine


def main(text, every, filled, seconds, **sides):
    """`text` describes the program, `every` names its cases. Of `sides`, by name, each is made with the options and has
    start_broker(case) and cases(), by name what measures a started broker. Before those in `filled` the page cache is
    filled again; others find it as options.page_cache."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--kafka", metavar="DIR")
    parser.add_argument("--seconds", type=int, default=seconds)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sides", help=f"only these, separated by commas (default: {','.join(sides)}; Kafka's with --kafka)")
    parser.add_argument("cases", nargs="*", metavar="CASE", choices=every + [[]])
    options = parser.parse_args()
    if machine.filesystem_of(options.dir) == "tmpfs":
        parser.error(f"{options.dir} is in memory; --dir must be on a disk")
    print(json.dumps(machine.describe(options.dir)), flush=True)
    options.page_cache = cache = machine.PageCache(options.dir)
    named = options.sides.split(",") if options.sides else [s for s in sides if options.kafka or not s.startswith("kafka")]
    if unknown := set(named) - set(sides):
        parser.error(f"no such side: {', '.join(sorted(unknown))}")
    if not options.kafka and any(name.startswith("kafka") for name in named):
        parser.error("Kafka's jars are needed for that side: --kafka DIR")
    sides = {name: sides[name](options) for name in named}
    results = {}

    def note(run, case, side, figures):
        print(json.dumps({"run": run, "case": case, "side": side, **figures}), flush=True)
        for key, value in figures.items():
            results.setdefault((case, key, side), []).append(value)

    try:
        for run in range(options.runs):
            cache.fill()
            note(run, "disk", "machine", {"sequential_write_mb_per_s": machine.sequential_write_mb_per_s(options.dir)})
            for case in options.cases or every:
                for side, its_cases in sides.items():
                    if case not in its_cases.cases():
                        continue
                    if case in filled:
                        cache.fill()
                    note(run, case, side, _flatten(_run_case(its_cases, case)))
    finally:
        cache.close()
    for (case, key, side), values in sorted(results.items()):
        print(f"{case:15} {key:26} {side:9} median {statistics.median(values):14.3f}   {min(values):.3f} .. {max(values):.3f}")


def _run_case(side, case):
    broker = side.start_broker(case)
    try:
        return side.cases()[case](broker)
    finally:
        broker.stop()


def _flatten(figures):
    out = {}
    for key, value in figures.items():
        if isinstance(value, dict):
            out.update({f"{key}.{k}": v for k, v in value.items()})
        else:
            out[key] = value
    return out
