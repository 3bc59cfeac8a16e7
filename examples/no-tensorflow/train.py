"""Fit a line by gradient descent in plain Python, and log its figures as JSON lines."""

import argparse
import json
import math
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=0.5)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    points = [(x / 100, 3 * x / 100 + 2 + 0.1 * math.sin(37 * x)) for x in range(100)]
    slope = intercept = 0.0

    Path("logs").mkdir(exist_ok=True)
    Path("outputs").mkdir(exist_ok=True)
    with Path("logs/metrics.jsonl").open("w") as metrics:
        for step in range(1, args.steps + 1):
            errors = [(slope * x + intercept - y, x) for x, y in points]
            loss = sum(error**2 for error, _ in errors) / len(errors)
            slope -= args.learning_rate * 2 * sum(e * x for e, x in errors) / len(errors)
            intercept -= args.learning_rate * 2 * sum(e for e, _ in errors) / len(errors)
            line = {"step": step, "loss": loss, "slope": slope, "intercept": intercept}
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            if step % 10 == 0:
                print(f"step {step}/{args.steps}: loss {loss:.5f}", flush=True)

    Path("outputs/line.json").write_text(json.dumps({"slope": slope, "intercept": intercept}))
    print(f"y = {slope:.2f} x + {intercept:.2f}, saved in outputs/line.json", flush=True)


if __name__ == "__main__":
    main()
