"""The whole configuration: nests every package's options. One TOML section for each field.

Reading it from files, environment and flags is `configuration.py`; what the options mean is said where
they are declared.
"""

from collections import Counter
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from outrider.classify.options import ClassifyOptions
from outrider.deliver.binding_options import BindingOptions
from outrider.deliver.options import DeliveryTable
from outrider.deliver.resolve import DeliveryResolver
from outrider.model.binding import DEFAULT, NONE
from outrider.model.scopes import ALL, Memberships
from outrider.net.options import NetOptions
from outrider.policy.group_options import BindingGroupOptions
from outrider.policy.options import PolicyOptions
from outrider.policy.query_names import check_names
from outrider.privacy.options import PrivacyOptions
from outrider.privacy.signing_options import DkimOptions
from outrider.receive.http_options import HttpOptions
from outrider.receive.options import ListenerOptions
from outrider.record.options import RecordOptions
from outrider.schedule.options import ScheduleOptions
from outrider.server.options import ServerOptions
from outrider.spool.options import SpoolOptions
from outrider.store.options import StoreOptions
from outrider.store.sources.options import DataSourceOptions


class Settings(BaseModel):
    """Everything that a node is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: ServerOptions = Field(ServerOptions(), description="The node itself.")
    listener: tuple[ListenerOptions, ...] = Field(
        (ListenerOptions(),), description="SMTP listeners; each is a `[[listener]]` table."
    )
    http: tuple[HttpOptions, ...] = Field(
        (), description="HTTP listeners for injection; each is a `[[http]]` table."
    )
    spool: SpoolOptions = Field(SpoolOptions(), description="The log and its checkpoint.")
    shaping: ScheduleOptions = Field(ScheduleOptions(), description="Limits and retries of each path.")
    delivery: DeliveryTable = Field(DeliveryTable(), description="How connections to receivers are made.")
    binding: tuple[BindingOptions, ...] = Field(
        (), description="Sending identities; each is a `[[binding]]` table."
    )
    binding_group: tuple[BindingGroupOptions, ...] = Field(
        (), description="Groups of bindings; each is a `[[binding_group]]` table."
    )
    net: NetOptions = Field(NetOptions(), description="DNS, routes and TLS towards receivers.")
    classify: ClassifyOptions = Field(
        ClassifyOptions(), description="Reading of replies, reports to senders."
    )
    record: RecordOptions = Field(RecordOptions(), description="Events, metrics and the server log.")
    privacy: PrivacyOptions = Field(PrivacyOptions(), description="The key ring.")
    dkim: tuple[DkimOptions, ...] = Field(
        (), description="Signatures that mail gets; each is a `[[dkim]]` table."
    )
    policy: PolicyOptions = Field(PolicyOptions(), description="Scripts that decide how mail goes out.")

    store: StoreOptions = Field(
        StoreOptions(), description="The control database: tenants, credentials, domains, audit log."
    )
    data_source: tuple[DataSourceOptions, ...] = Field(
        (), description="What policy asks; each is a `[[data_source]]` table."
    )

    @model_validator(mode="after")
    def _listeners_differ(self) -> Self:
        listeners = self.listeners
        names = [listener.name for listener in listeners]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two listeners have the name {twice[0]!r}; each needs its own")
        there: dict[tuple[str, int], str] = {}
        for listener in listeners:
            other = there.setdefault((listener.address, listener.port), listener.name)
            if listener.port and other != listener.name:
                raise ValueError(
                    f"the listeners {other!r} and {listener.name!r} both have the address {listener.address} "
                    f"and port {listener.port}; each needs its own"
                )
        return self

    @model_validator(mode="after")
    def _data_sources_differ(self) -> Self:
        names = [source.name for source in self.data_source]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two data sources have the name {twice[0]!r}; each needs its own")
        return self

    @model_validator(mode="after")
    def _queries_are_there(self) -> Self:
        check_names(self.policy.lookup, self.dkim, self.data_source)
        return self

    @model_validator(mode="after")
    def _bindings_hold_together(self) -> Self:
        faults = binding_faults(self)
        if faults:
            raise ValueError("; ".join(faults))
        DeliveryResolver(self.delivery, self.binding, self.memberships).check()
        return self

    @property
    def memberships(self) -> Memberships:
        """The groups of each binding that is a member of one, in the order of the configuration."""
        found: dict[str, list[str]] = {}
        for group in self.binding_group:
            for member in group.members:
                found.setdefault(member.binding, []).append(group.name)
        return found

    @property
    def binding_names(self) -> frozenset[str]:
        """The bindings that there are: `default`, those of tables, and those that an override names."""
        named = {binding for _, binding in self._overridden if ALL not in binding}
        return frozenset({DEFAULT, *named, *(binding.name for binding in self.binding)})

    @property
    def _overridden(self) -> list[tuple[str, str]]:
        """(group, binding) of each override."""
        return [
            *((each.group, each.binding) for each in self.delivery.override),
            *((each.group, each.binding) for each in self.shaping.override),
        ]

    @property
    def listeners(self) -> tuple[ListenerOptions | HttpOptions, ...]:
        """Everything that listens, SMTP first."""
        return (*self.listener, *self.http)

    @property
    def key_directory(self) -> Path:
        """Where the key ring is."""
        return self.privacy.key_directory or self.server.state_directory / "keys"

    @property
    def signing_directory(self) -> Path:
        """Where the keys are that `outrider dkim` makes."""
        return self.key_directory / "dkim"

    @property
    def shared_numbers_file(self) -> Path:
        """The numbers that scripts count together over all workers (`policy.shared`)."""
        return self.server.state_directory / "policy.numbers"

    def resolved(self, base: Path) -> "Settings":
        """The same settings with every relative directory made absolute below `base`."""
        server = self.server
        state = base / server.state_directory
        keys = self.privacy.key_directory
        password = self.store.password_file
        log = self.record.log_file
        return self.model_copy(
            update={
                "store": self.store.model_copy(
                    update={"password_file": base / password if password else None}
                ),
                "policy": self.policy.resolved(base),
                "delivery": self.delivery.resolved(base),
                "listener": tuple(one.resolved(base) for one in self.listener),
                "net": self.net.resolved(base),
                "binding": tuple(one.resolved(base) for one in self.binding),
                "data_source": tuple(source.resolved(base) for source in self.data_source),
                "record": self.record.model_copy(update={"log_file": str(base / log) if log else ""}),
                "privacy": self.privacy.model_copy(
                    update={"key_directory": base / keys if keys else state / "keys"}
                ),
                "dkim": tuple(one.resolved(base) for one in self.dkim),
                "server": server.model_copy(
                    update={
                        "state_directory": state,
                        "run_directory": base / server.run_directory
                        if server.run_directory
                        else state / "run",
                        "users_file": base / server.users_file if server.users_file else None,
                    }
                ),
            }
        )


def binding_faults(settings: Settings) -> list[str]:
    """What of bindings and groups does not hold together."""
    bindings = [binding.name for binding in settings.binding]
    groups = [group.name for group in settings.binding_group]
    faults = [f"two bindings have the name {name!r}; each needs its own" for name in _twice(bindings)]
    faults += [f"two groups have the name {name!r}; each needs its own" for name in _twice(groups)]
    known = settings.binding_names
    faults += [
        f"{name!r} is a binding and a group; call one of them otherwise"
        for name in sorted(known.intersection(groups))
    ]
    faults += [
        f"the group {group.name!r} has the member {member.binding!r}, which is no binding; "
        f"add a [[binding]] of that name"
        for group in settings.binding_group
        for member in group.members
        if member.binding not in known
    ]
    overridden = {group for group, _ in settings._overridden if ALL not in group}
    faults += [
        f"an override is for the group {name!r}, which there is not"
        for name in sorted(overridden.difference(groups))
    ]
    default = settings.policy.default_binding
    if default != NONE and default not in known and default not in groups:
        faults.append(f"policy.default_binding is {default!r}, which is neither a binding nor a group")
    return faults


def _twice(names: list[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
