"""Train a small network on scikit-learn's handwritten digits with Keras' fit."""

import argparse

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.005)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--first-layer-neurons", type=int, default=64)
    parser.add_argument("--second-layer-neurons", type=int, default=32)
    return parser.parse_args()


def build_model(args: argparse.Namespace) -> tf.keras.Model:
    # The model scales its own input, so a service takes pixels as they are: 64 numbers, 0 to 16.
    layers = [
        tf.keras.Input((64,), name="pixels"),
        tf.keras.layers.Rescaling(1 / 16),
        tf.keras.layers.Dense(args.first_layer_neurons, activation="relu"),
        tf.keras.layers.Dense(args.second_layer_neurons, activation="relu"),
        tf.keras.layers.Dense(10, activation="softmax", name="probabilities"),
    ]
    model = tf.keras.Sequential(layers)
    model.compile(
        optimizer=tf.keras.optimizers.Adam(args.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main() -> None:
    args = parse_arguments()
    pixels, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels.astype("float32"), digits, test_size=0.2, random_state=0
    )
    print(f"{len(x_train)} digits to learn from, {len(x_test)} to test on", flush=True)

    model = build_model(args)
    model.fit(
        x_train,
        y_train,
        batch_size=args.batch_size,
        epochs=args.epochs,
        validation_data=(x_test, y_test),
        callbacks=[tf.keras.callbacks.TensorBoard("logs", write_graph=False)],
        verbose=2,
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test accuracy {accuracy:.4f}", flush=True)

    model.export("outputs/digits")
    print("model saved in outputs/digits", flush=True)


if __name__ == "__main__":
    main()
