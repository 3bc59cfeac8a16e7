"""Train one model with mpi4py alone: ranks average their gradients, whatever the TensorFlow."""

import argparse
import hashlib

import numpy as np
import tensorflow as tf
from mpi4py import MPI
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

world = MPI.COMM_WORLD


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=32, help="per rank")
    parser.add_argument("--learning-rate", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=400)
    return parser.parse_args()


class Digits(tf.Module):
    """A softmax regression that scales its own input: 64 pixels from 0 to 16."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.zeros([64, 10]))
        self.bias = tf.Variable(tf.zeros([10]))

    @tf.function
    def gradients(self, pixels: tf.Tensor, digits: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(digits, self.logits(pixels))
            loss = tf.reduce_mean(losses)
        return loss, tape.gradient(loss, [self.weights, self.bias])

    def logits(self, pixels: tf.Tensor) -> tf.Tensor:
        return pixels / 16 @ self.weights + self.bias

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, "pixels")])
    def probabilities(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(self.logits(pixels))}


def averaged(values: np.ndarray) -> np.ndarray:
    """Return the mean of what all ranks bring."""
    total = np.empty_like(values)
    world.Allreduce(values, total)
    return total / world.size


def main() -> None:
    args = parse_arguments()
    print(f"rank {world.rank} of {world.size}", flush=True)
    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits, test_size=0.2, random_state=0
    )
    own = np.random.default_rng(world.rank)
    model = Digits()
    for step in range(1, args.steps + 1):
        batch = own.integers(len(x_train), size=args.batch_size)
        loss, gradients = model.gradients(x_train[batch], y_train[batch])
        for variable, gradient in zip([model.weights, model.bias], gradients, strict=True):
            variable.assign_sub(args.learning_rate * averaged(gradient.numpy()))
        if step % 100 == 0 and world.rank == 0:
            print(f"step {step}: loss {loss:.4f}", flush=True)

    right = np.argmax(model.logits(x_test).numpy(), axis=1) == y_test
    summed = hashlib.sha256(model.weights.numpy().tobytes()).hexdigest()[:16]
    print(f"rank {world.rank}: test accuracy {right.mean():.4f}", flush=True)
    print(f"rank {world.rank}: weights checksum {summed}", flush=True)
    if world.rank == 0:
        tf.saved_model.save(model, "outputs/digits", signatures=model.probabilities)
        print("model saved in outputs/digits", flush=True)


if __name__ == "__main__":
    main()
