"""From finished evaluations and runs to a folder of tables and pictures: experiments/NAME/."""
