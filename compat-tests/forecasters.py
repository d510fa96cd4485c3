"""Auto-models for the study: hyperparameters drawn at random, a fit whose loss is known at every step.

With `neuralforecast` installed these are its AutoNHITS, AutoLSTM and AutoTFT; without it, three seasonal
models fitted with numpy alone. Both kinds offer the same: `name`, and `trial(series, number) -> Trial`.
"""

import io
import math
import zlib
from dataclasses import dataclass
from typing import Dict, List

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Series:
    """One data set: monthly or quarterly observations, the last two horizons kept for validation and test."""

    name: str
    frame: pd.DataFrame  # unique_id, ds, y
    season: int
    horizon: int
    freq: str

    @property
    def train(self):
        return self.frame.iloc[: -2 * self.horizon]

    @property
    def validation(self):
        return self.frame.iloc[-2 * self.horizon : -self.horizon]

    @property
    def test(self):
        return self.frame.iloc[-self.horizon :]

    @property
    def before_test(self):
        return self.frame.iloc[: -self.horizon]


@dataclass(frozen=True)
class Trial:
    """A fit with one choice of hyperparameters; `losses` holds the training loss of every step, `checkpoint` the fitted model as a file."""

    params: Dict[str, object]
    losses: List[float]
    validation_forecast: np.ndarray
    test_forecast: np.ndarray
    checkpoint: bytes

    @property
    def diverged(self):
        return not math.isfinite(self.losses[-1])


def errors(truth, forecast) -> Dict[str, float]:
    """mae, rmse and smape (in percent) of a forecast."""
    truth, forecast = np.asarray(truth, float), np.asarray(forecast, float)
    difference = np.abs(truth - forecast)
    return {
        "mae": float(difference.mean()),
        "rmse": float(np.sqrt((difference**2).mean())),
        "smape": float(200 * (difference / (np.abs(truth) + np.abs(forecast))).mean()),
    }


class SeasonalModel:
    """A model of a few parameters `theta`, fitted by gradient descent on the one-step-ahead error.

    Subclasses say how hyperparameters are drawn, where theta starts and what they predict for every
    observation and beyond; they see the series on the scale of `transform`.
    """

    trials = 4

    @property
    def name(self):
        return type(self).__name__

    def trial(self, series: Series, number: int) -> Trial:
        rng = np.random.default_rng([zlib.crc32(f"{series.name}/{self.name}".encode()), number])
        params = self.draw(rng, number)
        y = series.train["y"].to_numpy(float)
        theta, losses = self.descend(y, series, params)
        validation = self.forecast(y, theta, series, params)
        test = self.forecast(series.before_test["y"].to_numpy(float), theta, series, params)
        # Forecasts with the errors of the validation drawn at random: what intervals are made from.
        paths = test + rng.choice(series.validation["y"].to_numpy(float) - validation, (30_000 // series.horizon, series.horizon))
        checkpoint = io.BytesIO()
        np.savez(checkpoint, theta=theta, losses=losses, paths=paths)
        return Trial(params, losses, validation, test, checkpoint.getvalue())

    def descend(self, y, series, params):
        z = transform(y, params["scale"])
        spread = z.std()
        theta = self.start(params)

        def loss(candidate):
            if not np.isfinite(candidate).all():
                return math.nan
            fitted = self.predict(z, candidate, series, params, ahead=0)
            usable = ~np.isnan(fitted)
            return float((((z - fitted)[usable] / spread) ** 2).mean())

        losses = []
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(params["max_steps"]):
                losses.append(loss(theta))
                if math.isnan(losses[-1]):
                    break
                width = 1e-5 * max(1.0, np.abs(theta).max())
                gradient = np.array([(loss(theta + width * e) - loss(theta - width * e)) / (2 * width) for e in np.eye(len(theta))])
                theta = theta - params["learning_rate"] * gradient
        return theta, losses

    def forecast(self, y, theta, series, params):
        z = transform(y, params["scale"])
        with np.errstate(over="ignore", invalid="ignore"):
            return untransform(self.predict(z, theta, series, params, ahead=series.horizon)[len(z) :], params["scale"])


class SeasonalDrift(SeasonalModel):
    """The mean of the same season in the last cycles, each moved by a drift per cycle that is learned."""

    def draw(self, rng, number):
        return {
            "scale": ["log", "linear"][number % 2],
            "cycles": int(rng.integers(1, 4)),
            "learning_rate": float(rng.uniform(0.05, 0.3)),
            "max_steps": int(rng.choice([20, 40, 60])),
        }

    def start(self, params):
        return np.zeros(1)

    def predict(self, z, theta, series, params, ahead):
        # The unit of the drift makes the loss equally steep for every scale and number of cycles.
        training = transform(series.train["y"].to_numpy(float), params["scale"])
        unit = 2 * training.std() / (params["cycles"] + 1)
        filled, lag = np.concatenate([z, np.full(ahead, np.nan)]), series.season
        result = np.full(len(filled), np.nan)
        for t in range(lag * params["cycles"], len(filled)):
            result[t] = np.mean([filled[t - k * lag] + k * theta[0] * unit for k in range(1, params["cycles"] + 1)])
            if t >= len(z):
                filled[t] = result[t]
        return result


class HoltWinters(SeasonalModel):
    """Exponential smoothing with trend and season; multiplicative when the scale is logarithmic."""

    def draw(self, rng, number):
        return {
            "scale": ["log", "linear"][number % 2],
            "alpha_start": float(rng.uniform(0.1, 0.6)),
            "beta_start": float(rng.uniform(0.01, 0.2)),
            "gamma_start": float(rng.uniform(0.1, 0.6)),
            "damping": float(rng.choice([0.97, 1.0])),
            "learning_rate": float(10 ** rng.uniform(0, 1)),
            "max_steps": int(rng.choice([15, 30])),
        }

    def start(self, params):
        weights = np.array([params[f"{name}_start"] for name in ("alpha", "beta", "gamma")])
        return np.log(weights / (1 - weights))

    def predict(self, z, theta, series, params, ahead):
        alpha, beta, gamma = 1 / (1 + np.exp(-theta))
        m, damping = series.season, params["damping"]
        level = z[:m].mean()
        trend = (z[m : 2 * m].mean() - level) / m
        season = list(z[:m] - level)
        result = np.full(len(z) + ahead, np.nan)
        for t in range(m, len(z)):
            result[t] = level + damping * trend + season[t - m]
            previous = level
            level = alpha * (z[t] - season[t - m]) + (1 - alpha) * (level + damping * trend)
            trend = beta * (level - previous) + (1 - beta) * damping * trend
            season.append(gamma * (z[t] - level) + (1 - gamma) * season[t - m])
        drift = 0.0
        for k in range(ahead):
            drift += damping ** (k + 1) * trend
            result[len(z) + k] = level + drift + season[len(z) - m + k % m]
        return result


class HarmonicRegression(SeasonalModel):
    """A polynomial trend plus sine and cosine waves. The last trial's learning rate is far too large: it diverges,
    and its losses end with infinity and NaN."""

    def draw(self, rng, number):
        return {
            "scale": ["log", "linear"][number % 2],
            "degree": int(rng.integers(1, 3)),
            "harmonics": int(rng.integers(1, 3)),
            "learning_rate": float(rng.uniform(0.05, 0.2)) if number < self.trials - 1 else 1e4,
            "max_steps": int(rng.choice([60, 100])),
        }

    def start(self, params):
        return np.zeros(1 + params["degree"] + 2 * params["harmonics"])

    def predict(self, z, theta, series, params, ahead):
        t = np.arange(len(z) + ahead)
        # The training period fixes the axis, so that a coefficient means the same when the forecast starts later.
        x = 2 * t / len(series.train) - 1
        angle = 2 * np.pi * t / series.season
        columns = [x**power for power in range(params["degree"] + 1)]
        columns += [wave(k * angle) for k in range(1, params["harmonics"] + 1) for wave in (np.sin, np.cos)]
        training = transform(series.train["y"].to_numpy(float), params["scale"])
        return training.mean() + training.std() * (np.stack(columns, axis=1) @ theta)


def transform(y, scale):
    return np.log(y) if scale == "log" else y


def untransform(z, scale):
    return np.exp(z) if scale == "log" else z


class NeuralAuto:
    """One of neuralforecast's Auto* classes; every trial is one sample of its search."""

    trials = 2

    def __init__(self, auto_class, space):
        self.auto_class, self.space = auto_class, space

    @property
    def name(self):
        return self.auto_class.__name__

    def trial(self, series: Series, number: int) -> Trial:
        import optuna
        import torch
        from neuralforecast import NeuralForecast
        from neuralforecast.losses.pytorch import MAE

        fixed = {"max_steps": 60, "val_check_steps": 20, "scaler_type": "robust", "random_seed": number + 1}
        quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        model = self.auto_class(
            h=series.horizon,
            loss=MAE(),
            config=lambda trial: {**self.space(trial, series), **fixed, **quiet},
            search_alg=optuna.samplers.RandomSampler(seed=number),
            num_samples=1,
            backend="optuna",
        )
        forecaster = NeuralForecast(models=[model], freq=series.freq)
        forecaster.fit(df=series.before_test, val_size=series.horizon)
        fitted = forecaster.models[0]

        def forecast(history):
            frame = forecaster.predict(df=history).reset_index()
            return frame[[column for column in frame if column.startswith(self.name)][0]].to_numpy(float)

        checkpoint = io.BytesIO()
        torch.save(fitted.model.state_dict(), checkpoint)
        return Trial(
            {**fitted.results.best_trial.params, **fixed},
            [float(loss) for _, loss in fitted.model.train_trajectories],
            forecast(series.train),
            forecast(series.before_test),
            checkpoint.getvalue(),
        )


def auto_models():
    """The models of the study, and what they come from: ('neuralforecast' or 'numpy', models)."""
    try:
        from neuralforecast.auto import AutoLSTM, AutoNHITS, AutoTFT
    except ImportError:
        return "numpy", [SeasonalDrift(), HoltWinters(), HarmonicRegression()]

    def common(trial, series):
        return {
            "input_size": trial.suggest_categorical("input_size", [2 * series.season, 3 * series.season]),
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        }

    return "neuralforecast", [
        NeuralAuto(
            AutoNHITS,
            lambda trial, series: {**common(trial, series), "dropout_prob_theta": trial.suggest_float("dropout_prob_theta", 0.0, 0.3)},
        ),
        NeuralAuto(
            AutoLSTM,
            lambda trial, series: {
                **common(trial, series),
                "encoder_hidden_size": trial.suggest_categorical("encoder_hidden_size", [16, 32]),
            },
        ),
        NeuralAuto(
            AutoTFT, lambda trial, series: {**common(trial, series), "hidden_size": trial.suggest_categorical("hidden_size", [16, 32])}
        ),
    ]
