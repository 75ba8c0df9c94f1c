"""A strict reader of what Prometheus scrapes: text format 0.0.4 and OpenMetrics
1.0.0. It takes only what every reader would take."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ([0-9.eE+-]+|\+Inf|NaN)\Z")
META = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)\Z")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}


class Family:
    def __init__(self):
        self.help = self.type = None
        self.samples = {}           # (name, labels as a sorted tuple): number


class Exposition:
    def __init__(self, text, open_metrics=False):
        self.open = open_metrics
        self.families = {}
        assert text.endswith("\n")
        lines = text.split("\n")[:-1]
        assert (lines[-1] == "# EOF") == open_metrics
        now = None
        for line in lines[:-1] if open_metrics else lines:
            meta = META.match(line)
            if meta:
                now = self.describe(now, *meta.groups())
            else:
                self.sample(now, line)
        for name, family in self.families.items():
            assert family.help and family.type, name
            if family.type == "histogram":
                self.check_histogram(name, family)

    def describe(self, now, what, name, text):
        if name != now:                         # a family comes once, in one piece
            assert name not in self.families, f"{name} twice"
            self.families[name] = Family()
        family = self.families[name]
        assert not family.samples, f"{what} of {name} behind a sample"
        assert getattr(family, what.lower()) is None
        setattr(family, what.lower(), text)
        if what == "TYPE":
            assert text in SUFFIXES and (self.open or text != "info"), line_of(name, text)
        return name

    def sample(self, now, line):
        match = SAMPLE.match(line)
        assert match, f"no sample: {line!r}"
        name, family = match[1], self.families[now]
        suffixes = SUFFIXES[family.type]
        if not self.open and family.type != "histogram":
            suffixes = [""]
        assert name in [now + s for s in suffixes], f"{name} under {now}"
        if family.type == "counter":
            assert name.endswith("_total"), name
        labels = re.findall(LABEL, match[2] or "")
        assert len({n for n, _ in labels}) == len(labels), line
        key = (name, tuple(sorted(labels)))
        assert key not in family.samples, f"twice: {line}"
        family.samples[key] = float(match[len(match.groups())])
        assert family.samples[key] >= 0, line

    def check_histogram(self, name, family):
        bounds, values = [], []
        for (sample, labels), n in family.samples.items():
            if sample == f"{name}_bucket":
                (label, bound), = labels
                assert label == "le"
                bounds.append(float(bound))
                values.append(n)
        assert bounds == sorted(bounds) and len(set(bounds)) == len(bounds), bounds
        assert bounds[-1] == float("inf")
        assert values == sorted(values), f"{name} goes down: {values}"
        assert values[-1] == family.samples[(f"{name}_count", ())]
        assert (f"{name}_sum", ()) in family.samples

    def get(self, name, **labels):
        """The sample of this name and exactly these labels; None: there is none."""
        key = (name, tuple(sorted(labels.items())))
        for family in self.families.values():
            if key in family.samples:
                return family.samples[key]
        return None

    def words(self, name, label):
        return {dict(labels)[label] for family in self.families.values()
                for sample, labels in family.samples if sample == name}

    def counters(self):
        return {key: n for family in self.families.values() if family.type in ("counter", "histogram")
                for key, n in family.samples.items()}


def line_of(name, text):
    return f"TYPE {name} {text}"
