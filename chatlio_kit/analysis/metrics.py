"""Metrics of chats, as small frames of numbers. All hours, months and years are UTC."""

from __future__ import annotations

import pandas as pd

from chatlio_kit.chatlio.kinds import Kind

HOUR = "hour of day (UTC)"
_MINUTE = 60.0


def events_by_month(events: pd.DataFrame) -> pd.DataFrame:
    """Count events by month and kind: a row for each month from the first to the last."""
    return _by_period(events, "%Y-%m", "month", "M")


def events_by_year(events: pd.DataFrame) -> pd.DataFrame:
    """Count events by year and kind: a row for each year from the first to the last."""
    return _by_period(events, "%Y", "year", "Y")


def conversations_by_hour(conversations: pd.DataFrame) -> pd.DataFrame:
    """Count the conversations that start in each of the 24 hours of the day, and their share of all."""
    hours = conversations["started_at"].dt.hour
    counts = hours.value_counts().reindex(range(24), fill_value=0)
    return pd.DataFrame(
        {"conversations": counts.to_numpy(), "share": (counts / max(1, len(hours))).round(3).to_numpy()},
        index=pd.Index(range(24), name=HOUR),
    )


def first_responses(conversations: pd.DataFrame) -> pd.DataFrame:
    """Summarize how long visitors waited for the first answer, in seconds, by the year of the conversation.

    Returns:
        A row for each year: how many conversations had a visitor's message and then an answer, the quartiles
        of the wait, and the share that waited less than a minute.
    """
    answered = conversations[conversations["first_response_seconds"].notna()]
    seconds = answered["first_response_seconds"].astype("float64")
    by_year = seconds.groupby(answered["started_at"].dt.year.astype("str").rename("year"))
    return pd.DataFrame(
        {
            "answered": by_year.size(),
            "lower_quartile": by_year.quantile(0.25).round(1),
            "median": by_year.median().round(1),
            "upper_quartile": by_year.quantile(0.75).round(1),
            "under_a_minute": by_year.agg(lambda waits: (waits < _MINUTE).mean()).round(3),
        }
    )


def busiest_pages(conversations: pd.DataFrame, top: int = 10) -> pd.DataFrame:
    """Count conversations by the page they started on, the busiest first.

    What follows a ``?`` or ``#`` is cut off: it differs by visitor, not by page.
    """
    counts = conversations["page_url"].str.replace(r"[?#].*", "", regex=True).value_counts()
    order = counts.rename_axis("page").rename("conversations").reset_index()
    order = order.sort_values(["conversations", "page"], ascending=[False, True])
    return order.head(top).set_index("page")


def sites(conversations: pd.DataFrame) -> pd.DataFrame:
    """Count conversations by the site they started on, the busiest first, and their share of all.

    If each language has a site of its own, this is the nearest that Chatlio comes to a language.
    """
    hosts = conversations["page_url"].str.extract(r"^[a-z]+://([^/?#]+)", expand=False).fillna("not known")
    counts = hosts.value_counts().rename_axis("site").rename("conversations").reset_index()
    counts = counts.sort_values(["conversations", "site"], ascending=[False, True]).set_index("site")
    return counts.assign(share=(counts["conversations"] / max(1, len(conversations))).round(3))


def unanswered(conversations: pd.DataFrame) -> pd.DataFrame:
    """Count the conversations that were reported as unanswered, by the weekday on which they started."""
    days = conversations["started_at"].dt.day_name().rename("weekday (UTC)")
    by_day = conversations["was_unanswered"].astype("int64").groupby(days)
    week = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    return pd.DataFrame(
        {"conversations": by_day.size(), "unanswered": by_day.sum(), "share": by_day.mean().round(3)}
    ).reindex(pd.Index([day for day in week if day in set(days)], name=days.name))


def _by_period(events: pd.DataFrame, form: str, name: str, frequency: str) -> pd.DataFrame:
    kinds = [str(kind) for kind in Kind]
    if events.empty:
        return pd.DataFrame(columns=kinds, index=pd.Index([], name=name), dtype="int64")
    times = events["occurred_at"]
    counts = pd.crosstab(times.dt.strftime(form), events["kind"])
    first, last = (time.tz_localize(None) for time in (times.min(), times.max()))
    periods = pd.period_range(first, last, freq=frequency).strftime(form)
    return counts.reindex(index=pd.Index(periods, name=name), columns=kinds, fill_value=0).rename_axis(
        columns=None
    )
