"""What is asked of Prefect, and how little of it."""

import importlib
import pkgutil

import flows


def test_every_flow_is_declared_without_results(server):
    from prefect import Flow

    modules = [
        importlib.import_module(m.name) for m in pkgutil.walk_packages(flows.__path__, "flows.")
    ]
    found = {
        value for module in modules for value in vars(module).values() if isinstance(value, Flow)
    }
    assert len(found) == 12
    assert all(flow.persist_result is False and flow.result_storage for flow in found)


def test_services_that_are_switched_off_exist(server):
    from prefect.settings.models.server.services import ServerServicesSettings

    from flows.orchestration.server import _IDLE_SERVICES

    fields = ServerServicesSettings.model_fields
    for name in _IDLE_SERVICES:
        assert "enabled" in fields[name.lower()].annotation.model_fields
