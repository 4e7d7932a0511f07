"""What is asked, and what is right, known without asking anybody.

Takes:      a seed, or files of recorded questions and answers.
Gives:      streams of questions, each with its meaning or its right answer.
May touch:  files of recorded rows, to read them.
Never:      the network, a process, a clock.
"""
