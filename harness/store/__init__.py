"""One door for MLflow and SQL: opened here, and what goes wrong there is said in one sentence here.

opening     makes a store under a lock, refuses what is no store of ours, within seconds
client      MLflow's client, whose errors are sentences
sentences   what SQLAlchemy, MLflow and the system say, as one sentence with advice
moving      the addresses inside a store whose home was moved
intact      whether a finished stage is still the bytes it was
"""
