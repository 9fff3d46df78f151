"""The house's colours, for plots and pages alike."""

# Okabe and Ito's colours, which stay apart for colour-blind readers.
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
PALETTE = (BLUE, ORANGE, SKY, VERMILLION, GREEN, PURPLE)

PANEL, INK, QUIET, LINE = "#FCFCFA", "#22272B", "#5C656C", "#E3E6E4"
