"""The API does what its OpenAPI description says, whatever it is asked: schemathesis, live."""

from contextlib import suppress

import pytest

EXAMPLES = 4  # for each operation, and as many that break its rules


@pytest.mark.slow
def test_the_api_keeps_its_word(serve):
    # Here, so that only the worker that runs it takes the seconds of their imports.
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    server = serve(max_body=100_000)
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    asked = set()
    for operation in (found.ok() for found in schema.get_all_operations()):
        for mode in GenerationMode:

            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=[*HealthCheck],
            )
            @given(case=operation.as_strategy(mode))
            def run(case):
                # Which bytes are a picture, and which options go together, no schema can say.
                answer = case.call_and_validate(excluded_checks=[positive_data_acceptance])
                asked.add((case.method, case.path, answer.status_code))

            with suppress(Unsatisfiable):  # where there is nothing to get wrong
                run()
    assert len({each[:2] for each in asked}) == 10
    assert {200, 404, 413, 415, 422} & {status for *_, status in asked} >= {200, 404, 422}
