"""``stream-guard access``: users of a secured cluster, and what each role may do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream_guard.cli.common import (
    BrokerOption,
    CommandError,
    ConfigOption,
    Exit,
    JsonOption,
    group,
    settings_of,
    write_json,
)

app = group(
    "Users of a secured cluster, and what each role may do there. Needs an administrator's certificate."
)

RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="As 'access show' lists them.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER")]


@app.command("show")
def show_roles(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the roles and what each may do, with the topics of the settings. Asks no broker."""
    from stream_guard.streaming.access import ROLES, grants

    settings = settings_of(config)
    roles = {
        role: [
            {
                "resource": entry.resource.name.lower(),
                "name": entry.name,
                "prefixed": entry.prefixed,
                "operation": entry.operation.name.lower(),
            }
            for entry in grants(role, settings)
        ]
        for role in ROLES
    }
    if json:
        write_json(roles)
        return
    for role, entries in roles.items():
        typer.echo(f"{role}: {ROLES[role]}")
        for entry in entries:
            typer.echo(
                f"  {entry['operation']:<17} {entry['resource']:<17} {entry['name']}{'*' * entry['prefixed']}"
            )


@app.command("grant")
def grant_role(
    role: RoleArgument,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="Named as the role if absent.")] = None,
    config: ConfigOption = None,
    broker: BrokerOption = None,
) -> None:
    """Let a user do what a role needs, and nothing else unless it was granted before."""
    from stream_guard.streaming.access import ROLES, grant
    from stream_guard.streaming.topics import admin_client

    if role not in ROLES:
        raise CommandError(f"There is no role {role!r}; there are {', '.join(ROLES)}.", Exit.USAGE)
    settings = settings_of(config, broker)
    with admin_client(settings.python_client()) as admin:
        count = grant(admin, role, user or role, settings)
    typer.echo(f"{user or role} may do what {role} needs: {count} grants.")


@app.command("revoke")
def revoke_all(user: UserArgument, config: ConfigOption = None, broker: BrokerOption = None) -> None:
    """Take back everything that a user may do."""
    from stream_guard.streaming.access import revoke
    from stream_guard.streaming.topics import admin_client

    with admin_client(settings_of(config, broker).python_client()) as admin:
        typer.echo(f"{revoke(admin, user)} grants taken back from {user}.")


@app.command("password")
def change_password(
    user: UserArgument,
    file: Annotated[
        Path, typer.Option("--file", help="File that holds the password; it is never written to a log.")
    ],
    config: ConfigOption = None,
    broker: BrokerOption = None,
) -> None:
    """Make a user, or give it a new password."""
    from stream_guard.streaming.access import set_password
    from stream_guard.streaming.topics import admin_client

    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}.", Exit.USAGE) from error
    if not password:
        raise CommandError(f"{file} is empty: put a password into it.", Exit.USAGE)
    with admin_client(settings_of(config, broker).python_client()) as admin:
        set_password(admin, user, password)
    typer.echo(f"{user} has the password of {file} now.")


@app.command("remove")
def remove(user: UserArgument, config: ConfigOption = None, broker: BrokerOption = None) -> None:
    """Remove a user: its password and everything that it may do."""
    from stream_guard.streaming.access import remove_user, revoke
    from stream_guard.streaming.topics import admin_client

    with admin_client(settings_of(config, broker).python_client()) as admin:
        count = revoke(admin, user)
        remove_user(admin, user)
    typer.echo(f"{user} is removed, and {count} grants are taken back.")
