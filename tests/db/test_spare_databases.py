import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.db.session import Database
from tests.support.postgres import PostgresServer
from tests.support.spare_databases import SpareDatabases

ROW = "INSERT INTO leaders SELECT n::text, 'a', now() FROM generate_series(1, 5) AS n"


def run(url: str, *statements: str) -> None:
    database = Database(url)
    with database.write() as session:
        for statement in statements:
            session.execute(text(statement))
    database.close()


def test_a_used_database_is_empty_and_counts_from_the_start(postgres: PostgresServer) -> None:
    spare = SpareDatabases(postgres)
    url = spare.take()
    run(url, ROW, "SELECT nextval(seqrelid) FROM pg_sequence")
    spare.give_back(url)
    assert spare.take() == url
    database = Database(url)
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM leaders")).scalar_one() == 0
        assert session.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1
        assert set(session.execute(text("SELECT last_value FROM pg_sequences")).scalars()) == {None}
        counted = session.execute(text("SELECT sum(n_mod_since_analyze) FROM pg_stat_user_tables")).scalar_one()
        assert counted == 0
    database.close()
    postgres.drop_database(url)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (n int)",
        "CREATE SCHEMA more",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE leaders ALTER COLUMN holder DROP NOT NULL",
        "CREATE TRIGGER more BEFORE UPDATE ON labels EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP INDEX ix_idempotent_answers_created_at",
        "ANALYZE leaders",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 64'; END $$",
        "INSERT INTO leaders SELECT n::text, 'a', now() FROM generate_series(1, 5000) AS n",
    ],
)
def test_a_database_that_is_not_as_a_new_one_is_dropped(postgres: PostgresServer, statement: str) -> None:
    spare = SpareDatabases(postgres)
    url = spare.take()
    run(url, statement)
    spare.give_back(url)
    new = spare.take()
    assert new != url
    postgres.drop_database(new)


def write_while_it_is_given_back(spare: SpareDatabases, url: str) -> None:
    database = Database(url)
    try:
        with database.write() as session:
            session.execute(text(ROW))
            spare.give_back(url)
    finally:
        database.close()


def test_who_is_still_connected_is_cut_off(postgres: PostgresServer) -> None:
    spare = SpareDatabases(postgres)
    url = spare.take()
    with pytest.raises(OperationalError, match="terminating connection"):
        write_while_it_is_given_back(spare, url)
    assert spare.take() == url
    run(url, "DO $$ BEGIN ASSERT (SELECT count(*) FROM leaders) = 0; END $$")
    postgres.drop_database(url)
